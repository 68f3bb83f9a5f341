"""The teacher: a keyed cross-fitted model of one partner's data, and how it labels."""
