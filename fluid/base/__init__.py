"""Ground floor: errors, whole-or-nothing files, digests and worker pools."""
