"""Handwritten digits: a small Keras CNN, asked by Celery prefork tasks."""

from __future__ import annotations

#: What `train.py` leaves behind: the network, and the digits that it never saw.
MODEL_FILE, HELD_OUT_FILE = "digits.keras", "held_out.npz"
