"""Distances between two samples, as plain functions."""
