"""What a graph file holds, as values, text and a picture."""
