"""A small bundled model behind Ollama's HTTP API, for machines without Ollama."""

import os

# llama.cpp's threads meet after every step. By default GNU's OpenMP lets them wait by spinning,
# which is ten times slower as soon as anything else wants a core. It reads this when it is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
