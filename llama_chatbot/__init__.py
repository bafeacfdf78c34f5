"""The project package: puts the apps together. Nothing imports it."""
