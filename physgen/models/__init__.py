"""Generative models on tensors."""
