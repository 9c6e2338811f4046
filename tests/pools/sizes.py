"""How many processes, or threads, the scripts of the matrix start. Imports nothing: scripts read it, and tests."""

from __future__ import annotations

PROCESSES = 4
