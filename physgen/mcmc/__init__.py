"""Markov chains: moves for many chains at once."""
