"""The project's settings: one view, no database."""

from __future__ import annotations

SECRET_KEY = "for a test on loopback"
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "tests.pools.django_site.views"
INSTALLED_APPS: list[str] = []
USE_TZ = True
