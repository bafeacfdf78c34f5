"""Search: what a text's words are, the index of them in the database, and finding by it."""
