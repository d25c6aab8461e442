"""Dense layers whose inputs are events, with weights that can be put on a dyadic grid."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nsc_deploy.graphs.dyadic import snap


def dense(inputs: int, outputs: int, *, gain: float = 1.0) -> nn.Linear:
    """A dense layer with torch's usual initial weights, U(-1, 1) / sqrt(inputs), times a gain.

    Sparse events move a neuron little: where a hundredth of the inputs are active, a gain above 1 lets
    the neurons fire from the first epoch on, and so lets them learn.
    """
    layer = nn.Linear(inputs, outputs)
    bound = gain / math.sqrt(inputs)
    nn.init.uniform_(layer.weight, -bound, bound)
    return layer


@torch.no_grad()
def snap_layer(layer: nn.Linear) -> None:
    """Round weight and bias to the finest grid on which sums over events are exact in float32."""
    bias = None if layer.bias is None else layer.bias.numpy()
    snapped = snap(layer.weight.numpy(), bias)
    layer.weight.copy_(torch.from_numpy(snapped.weight))
    if snapped.bias is not None:
        layer.bias.copy_(torch.from_numpy(snapped.bias))


def weight_of(layer: nn.Linear) -> NDArray[np.float32]:
    """The weight [out, in] as numpy."""
    weight: NDArray[np.float32] = layer.weight.detach().numpy()
    return weight


def bias_of(layer: nn.Linear) -> NDArray[np.float32]:
    """The bias [out] as numpy."""
    bias: NDArray[np.float32] = layer.bias.detach().numpy()
    return bias
