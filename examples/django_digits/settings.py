"""The project's settings: no database, one app, and Celery's under CELERY_*.

What differs between a desk and a server comes from the environment: DJANGO_SECRET_KEY, DJANGO_DEBUG=1,
DJANGO_ALLOWED_HOSTS (with commas), DJANGO_HTTPS=1 where the proxy in front speaks it, DJANGO_QUEUE,
PREDICTD_BROKER_URL, PREDICTD_RESULT_URL where the broker is no Redis, PREDICTD_ENDPOINT (which predictd's client reads
by itself).
"""

from __future__ import annotations

import os

from django.core.exceptions import ImproperlyConfigured

DEBUG = os.environ.get("DJANGO_DEBUG") == "1"
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or ("only for a desk" if DEBUG else "")
if not SECRET_KEY:
    # Django itself would say so only to the first visitor.
    message = "DJANGO_SECRET_KEY is not set; at a desk, DJANGO_DEBUG=1 does without"
    raise ImproperlyConfigured(message)
ALLOWED_HOSTS = [name.strip() for name in os.environ.get("DJANGO_ALLOWED_HOSTS", "127.0.0.1,localhost").split(",")]

INSTALLED_APPS = ["django.contrib.staticfiles", "examples.django_digits"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    # Serves static/ under gunicorn too.
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.common.CommonMiddleware",
    "examples.django_digits.json_only.json_only",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "examples.django_digits.urls"
WSGI_APPLICATION = "examples.django_digits.wsgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True
USE_TZ = True

if os.environ.get("DJANGO_HTTPS") == "1":
    CSRF_COOKIE_SECURE = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# A drawing is a few kilobytes.
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024

CELERY_BROKER_URL = os.environ.get("PREDICTD_BROKER_URL") or "redis://127.0.0.1:6379/0"
CELERY_RESULT_BACKEND = os.environ.get("PREDICTD_RESULT_URL") or CELERY_BROKER_URL
if not os.environ.get("PREDICTD_RESULT_URL") and not CELERY_BROKER_URL.startswith("redis"):
    # Celery's rpc:// brings a result to the process that enqueued, and any other may be asked for it.
    message = "PREDICTD_RESULT_URL is not set: where the broker is no Redis, name one for the answers"
    raise ImproperlyConfigured(message)
# A queue of its own, whatever else uses that broker.
CELERY_TASK_DEFAULT_QUEUE = os.environ.get("DJANGO_QUEUE", "django_digits")
# "A worker has it" and "nobody has taken it" are two different things to a person who waits.
CELERY_TASK_TRACK_STARTED = True
CELERY_TASK_SOFT_TIME_LIMIT = 10
CELERY_TASK_TIME_LIMIT = 15
# Answers are read at once; Celery's own day would keep a day's in Redis' memory.
CELERY_RESULT_EXPIRES = 300
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A person is waiting: where Redis is away the page has to say so in a second, and not when Celery has given up. Where
# Redis is there but silent, enqueuing waits three times: for the connection that it had, and for two new ones.
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0.1}
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 2, "socket_timeout": 2}
CELERY_REDIS_SOCKET_CONNECT_TIMEOUT = 2
CELERY_REDIS_SOCKET_TIMEOUT = 2
