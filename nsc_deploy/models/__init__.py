"""Transmitters and receivers, their neurons and attention, on snnTorch and on Norse."""
