"""What every app may use; imports none of them."""
