"""What was found, as it is read: the terminal's tables, Markdown, JSON, plots, and docs/performance.md."""
