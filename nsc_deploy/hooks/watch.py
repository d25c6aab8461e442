"""A torch module watched while it runs: what each layer gave out, and the NIR graph of what was seen.

torch is imported when a module is watched, never with this file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import nir
import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.network import Network, Reset, Shape, Signal
from nsc_deploy.hooks.outside import memory_of, telling_products

if TYPE_CHECKING:
    import torch

    RunModule = Callable[[torch.nn.Module, torch.Tensor], Any]

_WAY_OUT = "Export the network as a NIR graph and count that: nsc-deploy energy report GRAPH.nir"
# The NIR primitive of each neuron, by package and class; a subclass counts as its parent.
NEURONS = {
    ("snntorch", "Leaky"): "LIF",
    ("snntorch", "Lapicque"): "LIF",
    ("snntorch", "Synaptic"): "CubaLIF",
    ("norse", "LIFBoxCell"): "LIF",
    ("norse", "LIFCell"): "CubaLIF",
    ("norse", "LIF"): "CubaLIF",
    ("norse", "IAFCell"): "IF",
    ("norse", "LIBoxCell"): "LI",
    ("spikingjelly", "LIFNode"): "LIF",
    ("spikingjelly", "ParametricLIFNode"): "LIF",
    ("spikingjelly", "IFNode"): "IF",
}
# Of them, those that take all steps at once, [T, N, *shape]; of SpikingJelly its `step_mode` says it.
_ALL_STEPS = {("norse", "LIF"): "LIF"}
SYNAPSES = {("torch", name): name for name in ("Linear", "Conv1d", "Conv2d")}
_PASSING = {("torch", name): name for name in ("Flatten", "Identity", "Dropout", "Dropout1d", "Dropout2d")}


@dataclass
class Seen:
    """One layer of a module in one run.

    Attributes:
        module: the layer.
        primitive: of NIR, or the torch class of a layer with weights.
        source: name of the layer whose output it took in.
        given: shape of what it took in, as torch saw it.
        outputs: what it gave out, call by call.
    """

    module: torch.nn.Module
    primitive: str
    source: str
    given: tuple[int, ...]
    outputs: list[torch.Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class _Held:
    """A tensor that a layer gave out, and how often it had been written to by then."""

    tensor: torch.Tensor
    maker: str
    version: int

    def holds(self, view: torch.Tensor, steps: int) -> bool:
        """Whether another view of its memory has the same values in the same order, of all or whole steps."""
        own = self.tensor
        behind = view.storage_offset() - own.storage_offset()
        form = view.shape, view.stride()
        if behind == 0 and form == (own.shape, own.stride()):
            return True
        if own.ndim and len(own) == steps and form == (own.shape[1:], own.stride()[1:]):
            return behind in range(0, max(1, steps * own.stride(0)), max(1, own.stride(0)))
        if not (own.is_contiguous() and view.is_contiguous()):
            return False
        step = own.numel() // steps if own.ndim and len(own) % steps == 0 else own.numel()
        return step > 0 and behind >= 0 and behind % step == 0 and view.numel() % step == 0


class Watch:
    """What was seen of a module in one run, layer by layer in the order they first ran.

    Args:
        module: what will run.
        inputs: of the module, [steps, samples, ...].

    Attributes:
        layers: by name.
        entry: what the inputs are called, which no layer is.
    """

    def __init__(self, module: torch.nn.Module, inputs: torch.Tensor) -> None:
        self.layers: dict[str, Seen] = {}
        self._taken = {name for name, _ in _leaves(module, "")}
        self.entry = self.unused("input")
        self._steps = len(inputs)
        self._running = 0
        # Memory of a tensor that is let go of is used again, so all of them are held while this lives.
        self._held: dict[int, list[_Held]] = {}
        self._hold(inputs, self.entry)

    def unused(self, name: str) -> str:
        """A name that no layer has, nor anything else that asked for one."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def starts(self) -> None:
        """A layer begins to run."""
        self._running += 1

    def ends(self) -> None:
        """It has run."""
        self._running -= 1

    def multiplies(self, operation: str) -> None:
        """Something multiplies matrices, or computes with weights of the module.

        Raises:
            GraphError: no layer does.
        """
        if not self._running:
            raise GraphError(
                f"computes a product, or with weights, outside of its layers ({operation}), which cannot be "
                "counted",
                where="module",
                hint=_WAY_OUT,
            )

    def refuse_changed(self) -> None:
        """Refuse a run in which something wrote into what a layer gave out: that is what is counted.

        Raises:
            GraphError: with the layer.
        """
        for held in (one for some in self._held.values() for one in some):
            if held.tensor._version != held.version:
                raise GraphError(
                    "gave out what something changed in place, so whether it carries events cannot be known",
                    where=f"module '{held.maker}'",
                    hint=_WAY_OUT,
                )

    def passed(self, name: str, module: torch.nn.Module, given: torch.Tensor, out: torch.Tensor) -> None:
        """A layer that hands on what it takes in."""
        if "Dropout" in type(module).__name__ and module.training:
            raise GraphError(
                "is in training mode, where it drops values at random",
                where=f"module '{name}'",
                hint="Call eval() on the module first.",
            )
        self._hold(out, self._maker(name, given))

    def ran(self, name: str, module: torch.nn.Module, primitive: str, given: torch.Tensor, out: Any) -> None:
        """A layer of weights or neurons."""
        source = self._maker(name, given)
        seen = self.layers.setdefault(name, Seen(module, primitive, source, tuple(given.shape)))
        if seen.source != source:
            raise GraphError(
                f"takes in {seen.source} and also {source}: it is used in two places",
                where=f"module '{name}'",
                hint=_WAY_OUT,
            )
        seen.outputs.append(out)
        self._hold(out, name)

    def _hold(self, tensor: torch.Tensor, maker: str) -> None:
        if tensor.is_inference():
            raise GraphError(
                "runs in torch.inference_mode, where changes in place leave no trace",
                where=f"module '{maker}'",
                hint="Leave it out: modules are counted without gradients.",
            )
        self._held.setdefault(memory_of(tensor), []).append(_Held(tensor, maker, tensor._version))

    def _maker(self, name: str, tensor: torch.Tensor) -> str:
        there = self._held.get(memory_of(tensor), [])
        for held in there:
            if held.version == held.tensor._version and held.holds(tensor, self._steps):
                return held.maker
        raise GraphError(
            f"takes in what {there[0].maker} gave out in another order, in part or changed in place, so what "
            "it carries cannot be known"
            if there
            else "takes in what no layer gave out: something between the layers computes, so whether it "
            "carries events cannot be known",
            where=f"module '{name}'",
            hint=_WAY_OUT,
        )


@contextmanager
def watching(module: torch.nn.Module, watch: Watch) -> Iterator[None]:
    """Hooks on every layer of a module while it runs; they are gone afterwards.

    Raises:
        GraphError: a layer of a kind that cannot be counted runs, something computes between or behind the
            layers with weights of its own, or writes into what they gave out.
    """
    leaves = list(_leaves(module, ""))
    handles = [child.register_forward_pre_hook(lambda *_: watch.starts()) for _, child in leaves]
    handles += [child.register_forward_hook(_hook(name, watch), with_kwargs=True) for name, child in leaves]
    try:
        with telling_products(module, watch.multiplies):
            yield
        watch.refuse_changed()
    finally:
        for handle in handles:
            handle.remove()


def outputs_over_time(name: str, seen: Seen, steps: int, samples: int) -> NDArray[Any]:
    """What a layer gave out in one run, [T, N, *shape].

    A layer runs once a step on [N, *shape], or once for all steps on [T, N, *shape] or, without a state, on
    [T * N, *shape].

    Raises:
        GraphError: it ran neither way, or a neuron ran otherwise than it takes time, so that it took steps
            for samples or samples for steps.
    """
    arrays = [array_of(output) for output in seen.outputs]
    neuron = _kind(seen.module, NEURONS) is not None
    if neuron and steps > 1:
        _require_its_time(name, seen.module, len(arrays), steps)
    if len(arrays) == 1 and arrays[0].shape[:2] == (steps, samples):
        return arrays[0]
    if len(arrays) == 1 and steps > 1 and not neuron and arrays[0].shape[0] == steps * samples:
        return arrays[0].reshape(steps, samples, *arrays[0].shape[1:])
    if len(arrays) == steps and all(array.shape[0] == samples for array in arrays):
        return np.stack(arrays)
    shapes = sorted({array.shape for array in arrays})
    raise GraphError(
        f"ran {len(arrays)} times with outputs {shapes} for {steps} steps of {samples} samples; once a step "
        "or once for all is wanted",
        where=f"module '{name}'",
        hint="Run the module from rest over all steps: count_module(..., run=...).",
    )


def _require_its_time(name: str, module: torch.nn.Module, calls: int, steps: int) -> None:
    """Refuse a neuron that took steps for samples, or samples for steps: its count would look right.

    Raises:
        GraphError: it takes one step at a time and ran once for all, or the other way round.
    """
    at_once = _kind(module, _ALL_STEPS) is not None or getattr(module, "step_mode", "s") == "m"
    kind = type(module).__name__
    if not at_once and calls == 1:
        raise GraphError(
            f"is a {kind}, which takes one step at a time, and ran once for {steps} steps: it took them for "
            "samples",
            where=f"module '{name}'",
            hint="Say how a step runs: count_module(..., run=lambda net, x: [net(step) for step in x]), "
            "after whatever puts its neurons to rest.",
        )
    if at_once and calls > 1:
        raise GraphError(
            f"is a {kind} that takes all steps at once, and ran {calls} times: it took samples for steps",
            where=f"module '{name}'",
            hint="Run the module once over [steps, samples, ...]: leave run= out, or call net(x) in it.",
        )


def _leaves(module: torch.nn.Module, name: str) -> Iterator[tuple[str, torch.nn.Module]]:
    children = [] if _known(module) else list(module.named_children())
    if not children:
        yield name or type(module).__name__, module
    for own, child in children:
        yield from _leaves(child, f"{name}.{own}" if name else own)


def _known(module: torch.nn.Module) -> bool:
    return any(_kind(module, table) for table in (NEURONS, SYNAPSES, _PASSING))


def _kind(module: torch.nn.Module, table: dict[tuple[str, str], str]) -> str | None:
    for parent in type(module).__mro__:
        found = table.get((parent.__module__.split(".")[0], parent.__name__))
        if found is not None:
            return found
    return None


def _hook(name: str, watch: Watch) -> Callable[[Any, tuple[Any, ...], dict[str, Any], Any], None]:
    def hook(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        watch.ends()
        out = out[0] if isinstance(out, tuple) else out
        if _kind(module, _PASSING):
            watch.passed(name, module, _given(name, module, args, kwargs), out)
            return
        primitive = _kind(module, NEURONS) or _kind(module, SYNAPSES)
        if primitive is None:
            raise GraphError(
                f"is a {type(module).__name__}, which cannot be counted through hooks",
                where=f"module '{name}'",
                hint=_WAY_OUT,
            )
        watch.ran(name, module, primitive, _given(name, module, args, kwargs), out)

    return hook


def _given(name: str, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    """What a layer takes in: its first argument, given by its place or by its name."""
    first = next(iter(inspect.signature(module.forward).parameters), "")
    given = args[0] if args else kwargs.get(first)
    if given is None:
        raise GraphError(f"was given no {first}", where=f"module '{name}'", hint=_WAY_OUT)
    tensor: torch.Tensor = given
    return tensor


def network_of(watch: Watch, shapes: dict[str, Shape], dt: float, signal: Signal) -> Network:
    """The graph of a module.

    Only sizes, weights and connections of it are used: the module itself says what its neurons do, so their
    constants here are any that are valid.

    Args:
        watch: of one run.
        shapes: of the outputs of the input and each layer, for one sample at one step.
        dt: length of a step in seconds.
        signal: what enters.

    Raises:
        GraphError: no layer ran, or one that NIR cannot represent exactly.
    """
    if not watch.layers:
        raise GraphError("ran no layer that can be counted", where="module")
    entry = nir.Input(np.array(shapes[watch.entry]), metadata={"signal": signal.value})
    nodes: dict[str, Any] = {watch.entry: entry}
    flat: dict[str, str] = {}
    edges: list[tuple[str, str]] = []
    for name, seen in watch.layers.items():
        source = seen.source
        if seen.primitive == "Linear" and len(shapes[source]) > 1:
            if seen.source not in flat:
                flat[source] = watch.unused(f"{source}.flat")
                nodes[flat[source]] = nir.Flatten({"input": np.array(shapes[source])}, 0, -1)
                edges.append((source, flat[source]))
            source = flat[source]
        nodes[name] = _node(name, seen, shapes[name], dt)
        edges.append((source, name))
    for number, name in enumerate(_ends(watch)):
        output = watch.unused(f"output{number or ''}")
        nodes[output] = nir.Output(np.array(shapes[name]))
        edges.append((name, output))
    graph = nir.NIRGraph(nodes, edges, type_check=False)
    return assemble(graph, dt=dt, reset=Reset.ZERO, signal=signal)


def _ends(watch: Watch) -> list[str]:
    sources = {seen.source for seen in watch.layers.values()}
    return [name for name in watch.layers if name not in sources]


def _node(name: str, seen: Seen, shape: Shape, dt: float) -> Any:
    if seen.primitive in {"Linear", "Conv1d", "Conv2d"}:
        return _weights(name, seen)
    ones = np.ones(shape)
    tau = 2 * dt * ones
    if seen.primitive == "IF":
        return nir.IF(r=ones / dt, v_threshold=ones)
    if seen.primitive == "LI":
        return nir.LI(tau=tau, r=ones, v_leak=0 * ones)
    if seen.primitive == "CubaLIF":
        return nir.CubaLIF(tau_syn=tau, tau_mem=tau, r=ones, v_leak=0 * ones, v_threshold=ones)
    return nir.LIF(tau=tau, r=ones, v_leak=0 * ones, v_threshold=ones, v_reset=0 * ones)


def _weights(name: str, seen: Seen) -> Any:
    module: Any = seen.module
    weight = array_of(module.weight)
    bias = None if module.bias is None else array_of(module.bias)
    if seen.primitive == "Linear":
        return nir.Linear(weight) if bias is None else nir.Affine(weight, bias)
    if module.padding_mode != "zeros":
        raise GraphError(f"pads with {module.padding_mode}, where zeros are wanted", where=f"module '{name}'")
    kind = nir.Conv1d if seen.primitive == "Conv1d" else nir.Conv2d
    one = seen.primitive == "Conv1d"
    size = seen.given[-1] if one else tuple(seen.given[-2:])

    def plain(value: Any) -> Any:
        return value if isinstance(value, str) or not one else value[0]

    return kind(
        input_shape=size,
        weight=weight,
        stride=plain(module.stride),
        padding=plain(module.padding),
        dilation=plain(module.dilation),
        groups=module.groups,
        bias=np.zeros(len(weight), dtype=np.float32) if bias is None else bias,
    )


def array_of(tensor: torch.Tensor) -> NDArray[Any]:
    """A tensor of any device as numpy; numpy has no bfloat16, whose values float32 holds as they are."""
    held = tensor.detach().cpu()
    array: NDArray[Any] = (held.float() if held.dtype.itemsize == 2 else held).numpy()
    return array
