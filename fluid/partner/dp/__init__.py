"""Differential privacy: PATE, its noise, accounting and budget."""
