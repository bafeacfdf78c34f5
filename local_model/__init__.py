"""A small bundled model behind Ollama's HTTP API, for machines without Ollama."""

import os

# llama.cpp's threads wait for each other after every step. GNU OpenMP makes them spin by default,
# which is ten times slower as soon as anything else wants a core. It reads this when it is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
