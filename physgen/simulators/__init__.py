"""Exact and fast simulators."""
