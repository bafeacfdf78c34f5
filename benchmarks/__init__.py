"""Measures what the server adds to the model's time, CPU and memory: see docs/performance.md."""
