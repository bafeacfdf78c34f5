"""The operator's view of threads."""
