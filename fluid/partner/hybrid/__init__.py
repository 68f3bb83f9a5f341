"""The hybrid: a partner's own model blended with the student; it stays at home."""
