"""Models as they live: where they come from, which versions are served, and how each comes and goes."""

from __future__ import annotations
