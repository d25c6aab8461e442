"""What each NIR primitive computes. An operator is a node at work on one batch, with a state between calls.

`neurons` states the equations; `simulate` finds the operator of a primitive.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.network import Node, Reset

Real = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Setting:
    """What operators are built for.

    Attributes:
        dt: length of a step in seconds; None where the graph needs none.
        reset: what a spike does to the potential; None where nothing resets.
        dtype: float32 or float64.
        samples: size N of the batch.
    """

    dt: float | None
    reset: Reset | None
    dtype: np.dtype[Any]
    samples: int


class Operator(Protocol):
    """A node at work."""

    def run(self, values: Real) -> Real:
        """Take in [T, N, *input_shape], go on T steps, give out [T, N, *output_shape]."""
        ...


class Builder(Protocol):
    """Makes the operator of a node."""

    def __call__(self, node: Node, setting: Setting) -> Operator:
        """Build it.

        Raises:
            GraphError: the parameters and the time step do not fit together.
        """
        ...
