"""Routing: which endpoint is asked, what becomes of a failure, and when to ask again."""

from __future__ import annotations
