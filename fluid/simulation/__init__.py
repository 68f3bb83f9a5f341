"""A virtual consortium on one machine: partitions, the whole flow, studies, statistics."""
