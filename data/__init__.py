"""Demonstration data: six private tables, a public compound set and an external test set."""
