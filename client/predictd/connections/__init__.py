"""Connections: sockets, how they are opened, waited for, shared out and lost. The bottom room of the client."""

from __future__ import annotations
