"""Test support: a scripted Ollama, real server processes, and the tests of the project package."""
