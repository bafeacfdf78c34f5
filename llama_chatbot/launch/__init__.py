"""`make run`: `bootstrap` prepares the machine, `serve` runs the processes."""
