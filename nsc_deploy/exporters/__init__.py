"""The ways out: targets a graph can be checked against and exported to."""
