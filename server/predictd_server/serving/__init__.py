"""One request's way through the daemon: read, admitted, merged into a batch, run, answered. No sockets, no threads."""

from __future__ import annotations
