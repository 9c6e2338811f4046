"""Rows: what Keras' `predict` takes and gives, however many rows that is."""

from __future__ import annotations
