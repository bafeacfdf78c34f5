"""What the server adds to the model's own time, CPU and memory: see docs/performance.md."""
