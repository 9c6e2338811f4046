"""The project's `manage.py`: `python -m examples.django_digits.manage runserver`."""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.django_digits.settings")

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
