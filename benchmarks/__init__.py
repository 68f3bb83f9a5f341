"""What the steps of a round cost, as ratios to the library calls that they cannot avoid."""
