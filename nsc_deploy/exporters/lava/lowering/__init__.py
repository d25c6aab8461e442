"""From a network to Lava's integer network: the passes of this target, in the order of its pipeline."""
