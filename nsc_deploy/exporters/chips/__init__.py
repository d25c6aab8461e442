"""Does a graph fit a chip? Published limits as data, a placement, and what would mend it."""
