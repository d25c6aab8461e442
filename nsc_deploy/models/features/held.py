"""A trained part of a network that is computed with but not trained: the same results in fewer passes."""

import copy
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nsc_deploy.models.features.layers import KERNEL, PADDING, as_maps, as_matrix, as_rows, is_dense


@torch.inference_mode(False)  # autograd takes no tensor that was made in it
def hold(network: nn.Module, products: torch.dtype) -> nn.Module:
    """A copy for evaluation whose weights take no gradient; its results differ by rounding alone.

    Normalisation is folded into the convolution in front of it, and weights are in the format of products
    once and for all. Those of dense layers, which 3 x 3 convolutions on the smallest maps are too, lie there
    twice, as the products of either direction are quickest on.

    Args:
        network: any modules; the network itself stays as it is.
        products: number format of products, as autocast has it around the copy; float32 without autocast.
    """
    held = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(held.modules()):
        if isinstance(module, nn.Sequential):
            _fold(module)
    for module in list(held.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d | nn.Linear):
                child.to(products)
            if isinstance(child, nn.Linear):
                setattr(module, name, _HeldDense(child.weight, child.bias))
            elif isinstance(child, nn.Conv2d) and _keeps_size(child):
                setattr(module, name, _HeldConvolution(child))
    return held


def hold_scoring(network: nn.Module, products: torch.dtype) -> nn.Module:
    """A held copy that does its own autocast: float32 features in, float32 scores out.

    The last dense layer is computed in float32, for scores of 8 bits would tie.

    Args:
        network: any modules, the last of them a dense layer; it stays as it is.
        products: number format of the products of all other layers.
    """
    held = hold(network, products)
    name, last = [each for each in network.named_modules() if isinstance(each[1], nn.Linear)][-1]
    held.set_submodule(name, _HeldDense(last.weight, last.bias))
    return _Scoring(held, products)


class _Scoring(nn.Module):
    def __init__(self, held: nn.Module, products: torch.dtype) -> None:
        super().__init__()
        self._held, self._products = held, products

    def forward(self, features: Tensor) -> Tensor:
        reduced = self._products != torch.float32
        with torch.autocast(features.device.type, self._products if reduced else None, enabled=reduced):
            scores: Tensor = self._held(features)
        return scores


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
    return form == same and convolution.groups == 1 and convolution.padding_mode == "zeros"


class _HeldDense(nn.Module):
    """A dense layer, [N, in] -> [N, out], with its weight [out, in] and, for gradients, [in, out]."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("_weight", weight.detach())
        self.register_buffer("_turned", weight.detach().t().contiguous())
        self.register_buffer("_bias", None if bias is None else bias.detach())

    def forward(self, values: Tensor) -> Tensor:
        product: Tensor = _Product.apply(values, self._weight, self._turned, self._bias)  # type: ignore[no-untyped-call]
        return product


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, turned: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(turned)
        ctx.came_in = values.dtype
        with torch.autocast(values.device.type, enabled=False):  # the weight's format decides
            return functional.linear(values.to(weight.dtype), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (turned,) = ctx.saved_tensors
        return functional.linear(grad, turned).to(ctx.came_in), None, None, None


class _HeldConvolution(nn.Module):
    """A convolution that keeps the matrix of the map that it saw last."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self._convolution = convolution
        self._place: tuple[int, int] | None = None

    def forward(self, maps: Tensor) -> Tensor:
        if not is_dense(maps):
            result: Tensor = self._convolution(maps)
            return result
        place = maps.shape[-2], maps.shape[-1]
        weight, bias = self._convolution.weight, self._convolution.bias
        if place != self._place:
            with torch.inference_mode(False):
                repeated = None if bias is None else bias.repeat(place[0] * place[1])
                self._dense = _HeldDense(as_matrix(weight, *place, weight.dtype), repeated)
            self._place = place
        return as_maps(self._dense(as_rows(maps)), *place)
