"""The windows of ONNX convolutions and pools: stride, padding and dilation as the operator states them."""

from dataclasses import dataclass
from math import prod

from nsc_deploy.energy.counting.onnx.operators import Shape, Site
from nsc_deploy.graphs.connectivity import Pair, window_pairs


@dataclass(frozen=True)
class Windows:
    """How a kernel goes over the axes of space.

    Attributes:
        stride: step between outputs, for each axis.
        padding: zeros before and after, for each axis.
        dilation: distance of the taps, for each axis.
    """

    stride: tuple[int, ...]
    padding: tuple[Pair, ...]
    dilation: tuple[int, ...]

    def pairs(self, size: Shape, kernel: Shape, outputs: Shape) -> int:
        """Pairs of an output and a value inside its window, zeros of the padding left out.

        Args:
            size: of the input, for each axis.
            kernel: taps, for each axis.
            outputs: of the output, for each axis.
        """
        axes = zip(size, kernel, self.stride, self.padding, self.dilation, outputs, strict=True)
        return prod(window_pairs(*axis) for axis in axes)


def windows_of(site: Site, size: Shape, kernel: Shape) -> Windows:
    """The windows of an operator.

    Args:
        site: the operator.
        size: of its input, for each axis.
        kernel: taps, for each axis.
    """
    axes = range(len(kernel))
    stride = tuple(site.attribute("strides", [1] * len(kernel)))
    dilation = tuple(site.attribute("dilations", [1] * len(kernel)))
    automatic = site.attribute("auto_pad", "NOTSET")
    if automatic in {"SAME_UPPER", "SAME_LOWER"}:
        padding = [_same(size[i], kernel[i], stride[i], dilation[i], automatic) for i in axes]
    else:
        pads = site.attribute("pads", [0] * 2 * len(kernel))
        padding = [(pads[i], pads[i + len(kernel)]) for i in axes]
    return Windows(stride, tuple(padding), dilation)


def _same(size: int, taps: int, stride: int, dilation: int, automatic: str) -> Pair:
    outputs = -(-size // stride)
    total = max(0, (outputs - 1) * stride + dilation * (taps - 1) + 1 - size)
    small, large = total // 2, total - total // 2
    return (small, large) if automatic == "SAME_UPPER" else (large, small)
