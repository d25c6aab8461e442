"""Counting a torch module in place, through forward hooks, with the numbers of its NIR graph.

from nsc_deploy.hooks import count_module

counted = count_module(net, spikes, dt=0.001, signal="events")  # spikes: [steps, samples, ...]
counted.energy("horowitz-45nm")["memory"].mean_uj

The module runs as it is, on its own neurons; hooks read what each layer gives out. Layers of weights are
nn.Linear, nn.Conv1d and nn.Conv2d; neurons those of snnTorch (Leaky, Lapicque, Synaptic), Norse (LIFBoxCell,
LIFCell, LIF, IAFCell, LIBoxCell) and SpikingJelly (LIFNode, ParametricLIFNode, IFNode). Anything that
computes between them is refused, for nobody could say whether events come out of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy import CountedGraph, count_graph
from nsc_deploy.errors import DataError, GraphError, missing_package
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Network, Shape, Signal
from nsc_deploy.hooks.watch import Watch, array_of, network_of, outputs_over_time, watching

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from nsc_deploy.hooks.watch import RunModule


def count_module(
    module: torch.nn.Module,
    inputs: torch.Tensor | NDArray[Any],
    *,
    dt: float,
    signal: str = "real",
    run: RunModule | None = None,
    batch: int = 64,
    name: str = "module",
) -> CountedGraph:
    """Count every operation of a torch module over inputs.

    Args:
        module: to be run as it is, without gradients; in evaluation mode if it has dropout.
        inputs: [steps, samples, *shape].
        dt: length of a step in seconds.
        signal: "events" if the inputs are 0 and 1 by their nature, else "real" or "graded".
        run: how to run the module from rest over inputs [T, N, *shape]; by default module(inputs), which
            has to begin from rest by itself. A module that takes one step at a time:
            `lambda net, x: [net(step) for step in x]`, after whatever puts its neurons to rest.
        batch: samples run together.
        name: of the part.

    Raises:
        BackendError: torch is not installed.
        GraphError: a layer that cannot be counted, something that computes between the layers, or, without
            `run`, a module that goes on from where it was.
        DataError: inputs that are empty, not finite, or not what `signal` says.
        ConfigError: a batch of no samples.
    """
    try:
        import torch
    except ImportError as error:
        raise missing_package(error) or error from error
    kind = _signal(signal)
    values = array_of(inputs) if isinstance(inputs, torch.Tensor) else np.asarray(inputs)
    recording = _recording(values, kind, dt)

    def watched(samples: NDArray[Any]) -> Watch:
        tensor = _as_its_weights(torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32)), module)
        watch = Watch(module, tensor)
        with torch.no_grad(), watching(module, watch):
            module(tensor) if run is None else run(module, tensor)
        return watch

    busiest = _busiest(recording.values)
    first = watched(busiest)
    shapes: dict[str, Shape] = {first.entry: tuple(recording.shape)}
    for layer, seen in first.layers.items():
        shapes[layer] = tuple(outputs_over_time(layer, seen, recording.steps, 1).shape[2:])
    if run is None:
        _require_rest(first, watched(busiest))
    network = network_of(first, shapes, dt, kind)

    def replay(part: NDArray[Any], observe: Callable[[str, NDArray[Any]], None]) -> None:
        _tell(network, watched(part), part, observe)

    return count_graph(network, recording, name=name, batch=batch, run=replay)


def _as_its_weights(values: torch.Tensor, module: torch.nn.Module) -> torch.Tensor:
    """Values as a module takes them: of the kind of its weights, and where they are."""
    weight = next((one for one in module.parameters() if one.is_floating_point()), values)
    return values.to(weight.device, weight.dtype)


def _signal(name: str) -> Signal:
    try:
        return Signal(name)
    except ValueError as error:
        known = ", ".join(Signal)
        raise DataError(f"is {name!r} where one of {known} is wanted", where="signal") from error


def _recording(values: NDArray[Any], signal: Signal, dt: float) -> Recording:
    if values.ndim < 3 or 0 in values.shape:
        raise DataError(
            f"have the shape {values.shape}, where [steps, samples, ...] is wanted", where="inputs"
        )
    if not np.isfinite(values).all():
        raise DataError("hold values that are not finite", where="inputs")
    return Recording(values, signal, dt)


def _busiest(values: NDArray[Any]) -> NDArray[Any]:
    """The sample [T, 1, *shape] that the most of enters: what it leaves behind shows best."""
    entering = [float(np.abs(values[:, one]).sum(dtype=np.float64)) for one in range(values.shape[1])]
    place = int(np.argmax(entering))
    return values[:, place : place + 1]


def _require_rest(first: Watch, second: Watch) -> None:
    """Refuse a module that gives out something else for the same sample the second time.

    Raises:
        GraphError: the layer that does.
    """
    for name, seen in first.layers.items():
        again = second.layers.get(name)
        if again is None or not _same(seen.outputs, again.outputs):
            raise GraphError(
                "gives out something else when the same sample enters again: it does not begin from rest, "
                "and each batch would be counted from where the last one ended",
                where=f"module '{name}'",
                hint="Say how it is put to rest: run=lambda net, x: (reset(net), net(x)), where reset is "
                "functional.reset_net (SpikingJelly), utils.reset (snnTorch) or a function of yours.",
            )


def _same(outputs: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    if len(outputs) != len(others):
        return False
    pairs = zip(outputs, others, strict=True)
    return all(np.array_equal(array_of(one), array_of(other), equal_nan=True) for one, other in pairs)


def _tell(
    network: Network, watch: Watch, part: NDArray[Any], observe: Callable[[str, NDArray[Any]], None]
) -> None:
    """Hand the outputs of a run to an observer, in the order of the nodes."""
    steps, samples = part.shape[:2]
    outputs: dict[str, NDArray[Any]] = {watch.entry: np.asarray(part, dtype=np.float32)}
    for node in network.nodes:
        if node.name in watch.layers:
            outputs[node.name] = outputs_over_time(node.name, watch.layers[node.name], steps, samples)
        elif node.primitive == "Flatten":
            outputs[node.name] = outputs[node.inputs[0]].reshape(steps, samples, -1)
        elif node.primitive == "Output":
            outputs[node.name] = outputs[node.inputs[0]]
        if node.name not in outputs:
            raise GraphError("did not run in every batch", where=f"module '{node.name}'")
        if node.spiking and not np.isin(outputs[node.name], (0, 1)).all():
            raise GraphError("gives out other values than 0 and 1", where=f"module '{node.name}'")
        observe(node.name, outputs[node.name])
