"""The project's Celery app: `celery -A examples.django_digits worker`. Settings: Django's, named CELERY_*."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.django_digits.settings")

app = Celery("django_digits")
app.config_from_object("django.conf:settings", namespace="CELERY")
# Celery reads this setting from no file.
app.loader.override_backends = dict.fromkeys(("redis", "rediss"), "examples.django_digits.polled_results:PolledRedis")
app.autodiscover_tasks(["examples.django_digits"])
