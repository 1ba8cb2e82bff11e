"""Everything that changes weights, the run folders, and the command line."""
