"""Networks that models are built from."""
