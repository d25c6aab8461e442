"""Experiments: everything that decides the outcome of a training run, one module for each family of systems.

`families` says which there are and finds the one a system is of.
"""
