"""The project package: settings, URLs and what both apps need."""
