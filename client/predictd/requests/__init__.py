"""Requests: one question to one endpoint, from the caller's arrays to frames and back."""

from __future__ import annotations
