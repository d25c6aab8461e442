"""Deployments in parts: the middle of a graph on the chip, what the chip cannot hold on the host."""
