"""How bulk scoring grows past one machine: what a chunk costs its broker and its run, and what many hosts come to."""
