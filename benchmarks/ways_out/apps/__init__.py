"""The Celery apps of the ways: each differs from the others in where the model is, and in nothing else."""
