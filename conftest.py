"""The plugins of all tests, but for the one that comes before Django's settings (`pytest.ini`)."""

pytest_plugins = [
    "testing.selection",
    "testing.fixtures.browsers",
    "testing.fixtures.databases",
    "testing.fixtures.people",
    "testing.fixtures.servers",
]
