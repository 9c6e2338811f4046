"""Tuning: which settings are the fastest on this machine, for one model, found by trying them."""

from __future__ import annotations
