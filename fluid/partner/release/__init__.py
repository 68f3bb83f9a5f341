"""Releases: the ledger, charging, approval and signature, and the checkpoint of a key."""
