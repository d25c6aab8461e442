"""Conventional networks in 8 bits, in the same kind of C: what event-driven code is measured beside."""
