"""Energy of counted operations: profiles of prices with their sources, and the accountings that use them."""
