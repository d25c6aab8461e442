"""Deployments of which one part runs on a chip and the rest on the host."""
