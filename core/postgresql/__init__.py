"""The PostgreSQL backend in the settings: Django's, failing fast while PostgreSQL is away."""
