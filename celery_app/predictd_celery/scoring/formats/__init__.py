"""The kinds of files that are scored, each in a module of its own.

A module has `scan(source, limits)`, which reads a file once and returns its digest and its chunks, `read(source, span,
specs)`, which returns the rows of one chunk, and writes rows of outputs, where there are any of its kind. They know
nothing of models, folders and Celery. Any thread.
"""
