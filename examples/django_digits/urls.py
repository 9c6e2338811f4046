"""The site's addresses."""

from __future__ import annotations

from django.urls import path

from examples.django_digits import views

urlpatterns = [
    path("", views.page, name="page"),
    path("drawings/", views.enqueue, name="enqueue"),
    path("answers/<uuid:task_id>/", views.answer, name="answer"),
]
