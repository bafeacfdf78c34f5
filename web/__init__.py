"""The page to chat with: an HTML file at `/`, and the modules and styles that it loads."""
