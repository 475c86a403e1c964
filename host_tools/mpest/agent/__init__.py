"""The client of a Linux board, which is firmware/estd."""
