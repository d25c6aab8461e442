"""Fewer synaptic operations, learnt: what spikes cost as a part of the loss, and synapses that are cut.

Both look at the dense layers of a system, whatever stage they are in. A layer of a part for a chip is driven
by events: each event there is a synaptic operation at every synapse that is left.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from nsc_deploy.config.speech import TrainingConfig
from nsc_deploy.deployment import Place
from nsc_deploy.models.system import System


class Synapses:
    """The dense layers of a system, and which of their synapses are left.

    Args:
        system: a system in training.
    """

    def __init__(self, system: System) -> None:
        stages = (*system.transmitter.stages, *system.receiver.stages)
        self._all = [layer for stage in stages for layer in _dense(stage)]
        self._driven = [layer for stage in stages if stage.place is Place.CHIP for layer in _dense(stage)]
        self._left: list[Tensor] = []

    @contextmanager
    def operations(self) -> Iterator[list[Tensor]]:
        """Collect the synaptic operations of each layer driven by events, mean over the samples of a pass.

        They are differentiable in the events: an event counts as many as it meets synapses.
        """
        found: list[Tensor] = []

        def count(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
            events = given[0]  # [T, B, in]
            fan_out = (cast(Tensor, layer.weight) != 0).sum(0).float()
            found.append(events.sum((0, 1), dtype=torch.float32) @ fan_out / events.shape[1])

        hooks = [layer.register_forward_pre_hook(count) for layer in self._driven]
        try:
            yield found
        finally:
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def cut(self, share: float) -> None:
        """Cut the smallest weights of each layer, so that `share` of its synapses are not there.

        Which are cut depends on the weights alone, and those that are cut already are the smallest: nothing
        has to be remembered between epochs.
        """
        self._left = []
        for layer in self._all:
            size = layer.weight.abs().flatten()
            left = torch.ones_like(size, dtype=torch.bool)
            left[size.argsort(stable=True)[: int(share * len(size))]] = False
            self._left.append(left.view_as(layer.weight))
        self.hold()

    @torch.no_grad()
    def hold(self) -> None:
        """Put what is cut back to zero, behind a step of the optimiser."""
        for layer, left in zip(self._all, self._left, strict=False):
            layer.weight.mul_(left)


def cut_share(config: TrainingConfig, epoch: int) -> float:
    """The share of synapses cut in an epoch: s (1 - (1 - t)^3), where t rises from 0 to 1 over `cut_until`.

    Many go while many are left (Zhu and Gupta, To prune, or not to prune, 2017).
    """
    over = config.cut_until * config.epochs
    risen = min(1.0, (epoch + 1) / over) if over else 1.0
    return float(config.sparsity * (1 - (1 - risen) ** 3))


def _dense(stage: nn.Module) -> list[nn.Linear]:
    return [layer for layer in stage.modules() if isinstance(layer, nn.Linear)]
