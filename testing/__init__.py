"""What the tests of several apps share."""
