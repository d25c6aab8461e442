"""Which neurons have a scale in common when they are rounded."""

from enum import StrEnum


class Sharing(StrEnum):
    """Each neuron has a scale of its own, or all of a node share one, so that equal thresholds stay equal."""

    NEURON = "neuron"
    LAYER = "layer"
