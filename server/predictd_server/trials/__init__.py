"""Trials: what is found out of a loaded graph by running it, whichever library runs it. numpy only."""

from __future__ import annotations
