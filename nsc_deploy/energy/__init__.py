"""Energy: exact counts of operations from graphs and recorded inputs, priced with sourced figures."""
