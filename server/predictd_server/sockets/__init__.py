"""The daemon's sockets, the threads that own them (the pump's, control's), and the lock on their endpoint."""

from __future__ import annotations
