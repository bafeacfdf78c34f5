"""Calls to Ollama."""
