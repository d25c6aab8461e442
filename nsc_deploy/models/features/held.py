"""A trained part of a network that is computed with but not trained: the same results in fewer passes."""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nsc_deploy.models.features.layers import KERNEL, PADDING, as_matrix, convolve_with, is_dense


def hold(network: nn.Module, products: torch.dtype) -> nn.Module:
    """A copy for evaluation whose weights take no gradient; its results differ by rounding alone.

    Normalisation is folded into the convolution in front of it, weights of convolutions and dense layers are
    in the format of products once and for all, and 3 x 3 convolutions on the smallest maps keep their matrix.

    Args:
        network: any modules; the network itself stays as it is.
        products: number format of products, as autocast has it around the copy; float32 without autocast.
    """
    held = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(held.modules()):
        if isinstance(module, nn.Sequential):
            _fold(module)
    for module in list(held.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(products)
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d) and _keeps_size(child):
                setattr(module, name, _HeldConvolution(child.to(products)))
    return held


def _fold(chain: nn.Sequential) -> None:
    names = list(chain._modules)
    for name, following in pairwise(names):
        convolution, norm = chain._modules[name], chain._modules[following]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            folded = fuse_conv_bn_eval(convolution, norm)
            setattr(chain, name, folded.requires_grad_(False))
            setattr(chain, following, nn.Identity())


def _keeps_size(convolution: nn.Conv2d) -> bool:
    form = convolution.kernel_size, convolution.padding, convolution.stride, convolution.dilation
    same = (KERNEL, KERNEL), (PADDING, PADDING), (1, 1), (1, 1)
    return form == same and convolution.groups == 1


class _HeldConvolution(nn.Module):
    """A convolution that keeps the matrix of the map that it saw last."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self._convolution = convolution
        self._place: tuple[int, int] | None = None
        self._matrix = convolution.weight.new_empty(0)

    def forward(self, maps: Tensor) -> Tensor:
        if not is_dense(maps):
            result: Tensor = self._convolution(maps)
            return result
        place, weight = (maps.shape[-2], maps.shape[-1]), self._convolution.weight
        if place != self._place:
            self._place, self._matrix = place, as_matrix(weight, *place, weight.dtype)
        return convolve_with(self._matrix, maps, self._convolution.bias)
