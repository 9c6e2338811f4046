"""What gunicorn serves: `gunicorn --preload examples.django_digits.wsgi`."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.django_digits.settings")

application = get_wsgi_application()
