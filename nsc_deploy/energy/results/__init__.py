"""What counting gives and what can be done with it: counts of systems and graphs, and estimates."""
