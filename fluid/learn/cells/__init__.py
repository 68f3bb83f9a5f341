"""What cells of a table mean: numbers, classes, missing marks, units, as people write them."""
