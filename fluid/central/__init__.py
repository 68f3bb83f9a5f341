"""The coordinator: intake, pooling and the student. Sees annotations, never a private table."""
