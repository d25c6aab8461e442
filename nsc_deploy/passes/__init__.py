"""Network-to-network passes that every target may use, each with what it requires and what it ensures."""
