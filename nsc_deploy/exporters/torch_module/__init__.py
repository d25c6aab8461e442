"""Targets that are modules of a torch framework: snnTorch and Norse."""
