"""Changes to a network that save energy, each tried and measured."""
