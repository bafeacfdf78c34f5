"""What `make run` does: `bootstrap` makes the machine ready, `serve` runs the processes."""
