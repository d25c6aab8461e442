"""How many samples of a graph are run together, so that what is kept of them fits into memory."""

import math

from nsc_deploy.graphs.network import Network

VALUES_AT_ONCE = 2**25


def samples_at_once(network: Network, steps: int, most: int) -> int:
    """Samples in a batch: at most `most`, fewer where a graph is so large that 2^25 values are less.

    Args:
        network: the graph; each value that a node emits counts.
        steps: of a sample.
        most: what is enough.
    """
    values = steps * sum(math.prod(node.output_shape) for node in network.nodes)
    return max(1, min(most, VALUES_AT_ONCE // values))
