"""A convolution and the batch normalisation behind it, trained as two and deployed as one."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nsc_deploy.graphs.dyadic import snap

KERNEL = 3
PADDING = 1


@dataclass(frozen=True)
class Folded:
    """A convolution with the normalisation in it.

    Attributes:
        weight: [out, in, 3, 3].
        bias: [out].
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


class NormalisedConvolution(nn.Module):
    """3 x 3 convolution (stride 1, padding 1) and normalisation, [N, in, h, w] -> [N, out, h, w].

    Time steps are samples among others: one call for all of them, so that the running statistics of the
    normalisation move once a batch. After `finish` it is one convolution with a bias, as its graph is.

    Args:
        inputs: channels in.
        outputs: channels out.
    """

    finished: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, KERNEL, padding=PADDING, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.register_buffer("finished", torch.tensor(False))

    def forward(self, values: Tensor) -> Tensor:
        """The normalised result."""
        if bool(self.finished):
            return functional.conv2d(values, self.convolution.weight, self.norm.bias, padding=PADDING)
        normalised: Tensor = self.norm(self.convolution(values))
        return normalised

    def over_time(self, values: Tensor) -> Tensor:
        """[T, B, in, h, w] -> [T, B, out, h, w], with one weight for all steps."""
        return self(values.flatten(0, 1)).unflatten(0, values.shape[:2])  # type: ignore[no-any-return]

    @torch.no_grad()
    def folded(self) -> Folded:
        """W' = W g / s and b' = beta - mu g / s, with the running mean mu and deviation s, in float32."""
        weight, norm = self.convolution.weight.double(), self.norm
        if bool(self.finished):
            return Folded(weight.float().numpy(), norm.bias.detach().numpy())
        mean, variance = norm.running_mean, norm.running_var
        if mean is None or variance is None:
            raise TypeError("a batch normalisation without running statistics")
        gain = norm.weight.double() / torch.sqrt(variance.double() + norm.eps)
        bias = norm.bias.double() - mean.double() * gain
        return Folded((weight * gain.view(-1, 1, 1, 1)).float().numpy(), bias.float().numpy())

    @torch.no_grad()
    def finish(self, steps: int | None = None) -> None:
        """Become one convolution, whose state has the same names and shapes as before.

        Args:
            steps: T where events enter and neurons without a leak add up what leaves over T steps: the
                weights go on a dyadic grid on which T such sums are exact in float32 in any order. None
                where real values enter: weights as they are.
        """
        folded = self.folded()
        if steps is not None:
            folded = on_grid(folded, steps)
        self.convolution.weight.copy_(torch.from_numpy(folded.weight))
        self.norm.weight.fill_(1)
        self.norm.bias.copy_(torch.from_numpy(folded.bias))
        self.norm.reset_running_stats()
        self.finished.fill_(True)


def on_grid(folded: Folded, steps: int) -> Folded:
    """Weights and bias on one grid, 2^-k, on which sums over `steps` steps of events are exact in float32."""
    snapped = snap(folded.weight, folded.bias.astype(np.float64) * steps, max_input=steps)
    bias = np.round(folded.bias.astype(np.float64) * 2.0**snapped.bits) * 2.0**-snapped.bits
    return Folded(snapped.weight, bias.astype(np.float32))
