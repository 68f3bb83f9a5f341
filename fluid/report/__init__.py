"""Read-outs for people: evaluation of models side by side, and what a file contains."""
