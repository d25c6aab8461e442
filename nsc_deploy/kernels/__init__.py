"""Compiled loops over time that training and the reference simulator share; no torch in here."""
