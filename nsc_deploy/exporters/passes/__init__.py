"""Lowering passes: one step each, with pre- and postconditions that are checked whenever they run."""
