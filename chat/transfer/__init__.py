"""Export and import of conversations, one module for each format: see docs/transfer.md."""
