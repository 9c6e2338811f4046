"""A Django site that reads drawn digits: Django, Celery, Redis, Keras, and predictd between the last two."""

from __future__ import annotations
