"""How two runs of one graph compare, layer by layer, and whether that is good enough."""
