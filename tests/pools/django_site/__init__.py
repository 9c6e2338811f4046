"""A small Django project of the matrix; `python -m tests.pools.django_site` is its `manage.py`."""

from __future__ import annotations
