"""Check: finding lost and damaged files, and faults of the surroundings of a store."""
