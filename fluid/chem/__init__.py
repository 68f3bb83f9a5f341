"""Molecules: reading tables, standardising, fingerprints, descriptors and similarity."""
