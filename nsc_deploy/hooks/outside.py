"""What a torch module computes outside of its layers: products, and anything that is done with its weights.

torch is imported when a module is watched, never with this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# What multiplies and adds up, by the names of the operators that all functions of torch come down to; of some
# that come down to others as well, where no gradient is kept.
_PRODUCTS = frozenset(
    [
        *(
            "mm",
            "addmm",
            "_addmm_activation",
            "bmm",
            "addbmm",
            "baddbmm",
            "mv",
            "addmv",
            "addr",
            "dot",
            "vdot",
        ),
        *("linear", "mkldnn_linear", "matmul", "bilinear", "_trilinear", "einsum", "tensordot"),
        *("convolution", "_convolution", "mkldnn_convolution", "conv_tbc", "mkldnn_rnn_layer"),
        *("conv1d", "conv2d", "conv3d", "_native_multi_head_attention", "_transformer_encoder_layer_fwd"),
    ]
)
_ATTENTION = "_scaled_dot_product"
# What only copies weights, and what only takes their shape.
_COPIES = frozenset({"clone", "_to_copy"})
_OF_THEIR_SHAPE = ("new_", "empty_", "zeros_", "ones_", "full_", "rand_", "randn_")


def memory_of(tensor: torch.Tensor) -> int:
    """Where a tensor lies; views of it lie there too."""
    return int(tensor.untyped_storage().data_ptr())


def telling_products(module: torch.nn.Module, tell: Callable[[str], None]) -> AbstractContextManager[Any]:
    """Tells of every product of matrices, and of every computation with weights of a module, while it runs.

    Args:
        module: whose weights are meant.
        tell: called with the name of an operator, inside of layers too.
    """
    from torch.nn.parameter import is_lazy
    from torch.utils._python_dispatch import TorchDispatchMode

    # Copies of weights are held, so that no other tensor comes to lie where one was.
    copies: list[torch.Tensor] = []
    weights = {memory_of(weight) for weight in module.parameters() if not is_lazy(weight) and weight.numel()}

    class Outside(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = func(*args, **(kwargs or {}))
            name = func.overloadpacket.__name__
            if name in _PRODUCTS or name.startswith(_ATTENTION):
                tell(name)
            elif any(memory_of(one) in weights for one in _tensors((args, kwargs))):
                made = [one for one in _tensors(found) if memory_of(one) not in weights]
                if name in _COPIES:
                    copies.extend(made)
                    weights.update(map(memory_of, made))
                elif made and not name.startswith(_OF_THEIR_SHAPE):
                    tell(name)
            return found

    return Outside()  # type: ignore[no-untyped-call]


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    """Every tensor among arguments."""
    import torch

    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for one in values:
            yield from _tensors(one)
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))
