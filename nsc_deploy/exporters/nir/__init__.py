"""The target "nir": the graph itself, in normal form."""
