"""A written snnTorch or Norse module at work, every layer shown; this alone of the room imports torch."""

from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nsc_deploy.errors import BackendError
from nsc_deploy.graphs.network import SPIKING, Network
from nsc_deploy.graphs.operators.coefficients import coefficients
from nsc_deploy.verification.runner import LayerTrace, RunTrace, layer_names

Hook = Callable[[torch.nn.Module, tuple[Any, ...], Any], None]


class ModuleRunner:
    """Runs the module that lies at a path, with the weights beside it. It is Python code, and it is executed.

    Args:
        path: the module.
        network: the graph it was made from.
        name: of the framework.

    Raises:
        BackendError: the framework is missing, or the file is no such module.
    """

    def __init__(self, path: Path, network: Network, name: str) -> None:
        self.name = name
        self._network = network
        self._module, self._nodes = _load(path)

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest."""
        names = layer_names(self._network)
        calls: dict[str, list[tuple[Any, Any]]] = {name: [] for name in names}
        hooks = [
            self._module.get_submodule(self._nodes[name]).register_forward_hook(_keeping(calls[name]))
            for name in names
        ]
        try:
            with torch.no_grad():
                outputs, _ = self._module(torch.from_numpy(np.array(values, np.float32)))
        finally:
            for hook in hooks:
                hook.remove()
        return RunTrace(outputs.numpy(), {name: self._layer(name, calls[name]) for name in names})

    def _layer(self, name: str, calls: list[tuple[Any, Any]]) -> LayerTrace:
        """Spikes and potentials before the reset, from what a neuron was called with and what it gave."""
        node = self._network.node(name)
        numbers = coefficients(node, self._network)
        if node.primitive == "Threshold":
            return LayerTrace(
                _stack(given for _, given in calls), _stack(x for (x,), _ in calls), numbers.threshold
            )
        result = _stack(given[0] for _, given in calls)
        if node.primitive not in SPIKING:
            return LayerTrace(None, result)
        current, before = _stack(x for (x, _), _ in calls), _stack(v for (_, v), _ in calls)
        return LayerTrace(result, numbers.decay * before + current, numbers.threshold)


def _keeping(calls: list[tuple[Any, Any]]) -> Hook:
    def hook(_module: torch.nn.Module, entering: tuple[Any, ...], given: Any) -> None:
        calls.append((entering, given))

    return hook


def _stack(tensors: Any) -> NDArray[np.float32]:
    return np.stack([tensor.detach().numpy() for tensor in tensors]).astype(np.float32, copy=False)


class _Uncached(SourceFileLoader):
    """Leaves no compiled copy in the folder it loads from."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Keep nothing."""


def _load(path: Path) -> tuple[torch.nn.Module, dict[str, str]]:
    loader = _Uncached("exported_network", str(path))
    found = ModuleType("exported_network")
    found.__file__ = str(path)
    try:
        loader.exec_module(found)
        return found.Network.load(), found.NODES
    except (ImportError, AttributeError, SyntaxError, RuntimeError, KeyError, OSError) as error:
        raise BackendError(
            f"cannot be loaded ({error})",
            where=path,
            hint="Install the framework it names, or export it again.",
        ) from error
