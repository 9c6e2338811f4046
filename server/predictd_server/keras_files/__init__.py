"""Keras' files: what Keras itself says of a model, whichever backend computes it."""

from __future__ import annotations
