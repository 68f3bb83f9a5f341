"""Making the public set: candidates, selection, preparation, coverage."""
