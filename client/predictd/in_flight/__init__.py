"""In flight: many requests at once on few connections, for event loops and futures."""

from __future__ import annotations
