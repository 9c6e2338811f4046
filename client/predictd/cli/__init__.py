"""The command line: what a person or a script asks a server from a shell. Main thread."""

from __future__ import annotations
