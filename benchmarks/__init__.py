"""Speed and memory, measured: `make bench`. Every figure is a ratio to a limit that the same run measured beside it."""
