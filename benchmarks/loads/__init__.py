"""Who asks: callers in processes of their own, closed loop or open, through the client, bare sockets or Celery."""
