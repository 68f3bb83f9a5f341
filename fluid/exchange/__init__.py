"""What crosses the wall, and nothing else: contract, public set, annotation, federated set."""
