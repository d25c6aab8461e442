"""The poster's Spike Cross Attention against its equations, step by step."""

import numpy as np
import torch

from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_run import run_onnx
from nsc_deploy.models.cross_attention import SpikeCrossAttention
from nsc_deploy.models.spiking import NeuronForm

FORM = NeuronForm(decay_steps=2, threshold=1.0, framework="snntorch")


def by_the_equations(block, x):
    """One sample [T, C] in plain numpy loops."""
    steps, channels = x.shape
    left, right = (conv.weight.detach().numpy() for conv in (block.left, block.right))
    gate = block.gate.weight.detach().numpy()

    def padded(t):
        return x[t] if 0 <= t < steps else np.zeros(channels)

    v, out = np.zeros(channels), []
    for t in range(steps):
        product = sum(left[:, 0, k] * padded(t + k - 2) for k in range(5))
        v = 0.5 * v + sum(right[:, :, k] @ padded(t + k - 1) for k in range(3))
        spikes = v > 1.0
        v = np.where(spikes, 0.0, v)
        out.append(product * (1 - gate @ spikes))
    return np.array(out)


def test_block_follows_the_equations_in_torch_and_onnx():
    torch.manual_seed(0)
    block = SpikeCrossAttention(6, FORM, Signal.REAL)
    with torch.no_grad():
        block.right.weight.mul_(4)
    x = torch.randn(12, 3, 6)
    with torch.no_grad():
        torch_values = block(x).numpy()
        assert (block.attention(x) != 1).any()
    wanted = np.stack([by_the_equations(block, x[:, b].numpy()) for b in range(3)], 1)
    np.testing.assert_allclose(torch_values, wanted, atol=1e-5)
    np.testing.assert_allclose(run_onnx(block.graph(0.03, None), x.numpy()), wanted, atol=1e-5)
