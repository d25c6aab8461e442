"""Which framework a graph looks like: a guess by its traces, for NIR files do not name their writer."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.flow import FlatGraph

SNNTORCH_DT = 1e-4
_ROUNDED = 1e-5
SHORTEST_S = 1e-3
# The square of the longest step anybody would give for Norse, some milliseconds.
_SQUARED_STEP = 2e-5
_SINABS_RESET = "subtract, or zero for MembraneReset"
_ROCKPOOL_NAMED = re.compile(r"(^|[._])[A-Z]\w*Torch$")
_FX_NUMBERED = re.compile(r"_\d+(_\d+)*$")


class Writer(StrEnum):
    """A program that writes NIR files."""

    SNNTORCH = "snnTorch's export_to_nir"
    NORSE = "Norse's to_nir"
    SPIKINGJELLY = "SpikingJelly's export_to_nir"
    NIRTORCH = "nirtorch's torch_to_nir"
    SINABS = "sinabs's to_nir"
    NORSE_OR_SINABS = "Norse's to_nir or of sinabs's"
    ROCKPOOL = "Rockpool's to_nir"


@dataclass(frozen=True)
class Sign:
    """What makes a graph look like one writer's.

    Attributes:
        writer: who probably wrote it.
        traces: what was found, as the end of a sentence.
        dt: seconds a step that the numbers themselves tell, or None.
        hint_dt: what to give as --dt.
        hint_reset: what to give as --reset.
    """

    writer: Writer
    traces: str
    dt: float | None
    hint_dt: str
    hint_reset: str

    @property
    def claim(self) -> str:
        """The beginning of an evidence."""
        return f"it looks like a file of {self.writer}: {self.traces}."


def sign_of(graph: FlatGraph) -> Sign | None:
    """The writer whose traces a graph bears, or None; our own graphs name theirs and are not asked."""
    return next((sign for sign in (recognise(graph) for recognise in _RECOGNISERS) if sign is not None), None)


def _spikingjelly(graph: FlatGraph) -> Sign | None:
    cells = graph.of("LIF", "IF", "CubaLIF")
    if not cells or len(cells) < len(graph.neurons) or not _is_traced_by_fx(graph):
        return None
    if not all(_holds_uniform_doubles(node) for node in cells.values()):
        return None
    if not all(all_close(node.v_leak, node.v_reset) for node in graph.of("LIF").values()):
        return None
    rates = [float(node.r.flat[0]) for node in graph.of("IF").values() if node.r.size]
    rates += [float((node.r / node.tau_mem).flat[0]) for node in graph.of("CubaLIF").values() if node.r.size]
    if any(not np.isclose(rate, rates[0], rtol=_ROUNDED) or rate <= 0 for rate in rates):
        return None
    dt = 1 / rates[0] if rates else None
    hint = f"{dt:g}, as its numbers say" if dt else "the dt given to the export, 1e-4 if none was"
    traces = "names as torch.fx gives them, neurons in double precision and alike within a layer"
    return Sign(Writer.SPIKINGJELLY, traces, dt, hint, "zero, for the exporter refuses every other reset")


def _holds_uniform_doubles(node: Any) -> bool:
    arrays = [value for value in vars(node).values() if isinstance(value, np.ndarray) and value.ndim]
    arrays = [array for array in arrays if array.shape == node.r.shape]
    return all(array.dtype == np.float64 and np.unique(array).size == 1 for array in arrays)


def _snntorch(graph: FlatGraph) -> Sign | None:
    cells = graph.of("LIF", "CubaLIF")
    if not cells or len(cells) < len(graph.neurons):
        return None
    for node in cells.values():
        tau = getattr(node, "tau", None)
        taus = [(tau, node.r)] if tau is not None else [(node.tau_mem, node.r), (node.tau_syn, node.w_in)]
        if not all(all_close(gain * SNNTORCH_DT, time, _ROUNDED) for time, gain in taus):
            return None
        if np.any(node.v_leak) or np.any(node.v_reset):
            return None
    traces = "every neuron has tau = 1e-4 s * r, no leak potential and no reset potential"
    return Sign(
        Writer.SNNTORCH, traces, SNNTORCH_DT, "1e-4, which it always writes", "the model's reset_mechanism"
    )


def _rockpool(graph: FlatGraph) -> Sign | None:
    cells = graph.of("LIF", "CubaLIF", "LI")
    named = [name for name in graph.parameters if _ROCKPOOL_NAMED.search(name)]
    dt = _rockpool_step(cells.values())
    if not cells or (dt is None and not named):
        return None
    told = f"names such as '{named[0]}'" if named else ""
    gains = "" if dt is None else f"every neuron has r = tau exp(-dt / tau) / dt for one dt, {dt:g} s"
    hint = "the dt of the model" if dt is None else f"{dt:g}, as its numbers say"
    traces = " and ".join(trace for trace in (told, gains) if trace)
    return Sign(Writer.ROCKPOOL, traces, dt, hint, "subtract, for Rockpool's neurons reset no other way")


def _rockpool_step(cells: Iterable[Any]) -> float | None:
    """The step that all gains tell where they are tau exp(-dt / tau) / dt; None where they tell none.

    Any gain is one for some step; but a step that nobody chose has more digits than two.
    """
    steps = []
    for node in cells:
        tau, gain = np.atleast_1d(_time_constant(node)), np.atleast_1d(node.r)
        if not (gain > 0).all() or not all_close(getattr(node, "w_in", np.ones(1)), 1) or np.any(node.v_leak):
            return None
        # r = exp(-x) / x for x = dt / tau.
        steps.append(np.ravel(tau * lambert(1 / gain.astype(np.float64))))
    found = np.concatenate(steps) if steps else np.zeros(0)
    if not found.size:
        return None
    rounded = float(f"{np.median(found):.1e}")
    return rounded if all_close(found, rounded, _ROUNDED) else None


def lambert(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The x above 0 with x exp(x) = value, by Newton's method from above, where it cannot overshoot."""
    x = np.log1p(values)
    for _ in range(20):
        x = x - (x - values * np.exp(-x)) / (1 + x)
    return x


def _norse(graph: FlatGraph) -> Sign | None:
    """Time constants that are dt times too short, or one number for a layer of integrators."""
    cells = graph.of("LIF", "CubaLIF", "LI")
    taus = [_time_constant(node) for node in cells.values()]
    alone = [node for node in graph.of("IF").values() if np.ndim(node.r) == 0]
    if not _has_unit_gains(graph) or not (taus or alone):
        return None
    longest = max((float(np.max(tau)) for tau in taus), default=0.0)
    # Whoever names a step that these time constants go with has a file that means what it says.
    fitting = graph.dt is not None and graph.dt > _SQUARED_STEP and all(np.all(t >= graph.dt) for t in taus)
    if longest >= SHORTEST_S or (taus and fitting):
        return None
    what = f"time constants of {longest:g} s at most, " if taus else "one number for a layer of IF, "
    traces = what + "nodes 'input' and 'output', r = 1 in single precision in every neuron"
    hint = "the square of the step in seconds, 1e-6 for one of 1 ms (see the warning after that)"
    if not taus:
        hint = "1, for its integrators add their whole input"
    return Sign(Writer.NORSE, traces, None, hint, "zero, or subtract for reset_method=reset_subtract")


def _sinabs(graph: FlatGraph) -> Sign | None:
    """Time constants in steps, or integrators among nodes that no other exporter of such neurons writes."""
    cells = graph.of("LIF", "LI")
    if not _has_unit_gains(graph) or graph.of("CubaLIF", "Linear", "AvgPool2d", "CubaLI", "I"):
        return None
    steps = all(np.all(node.tau >= 1) for node in cells.values())
    layers = graph.of("SumPool2d", "Flatten", "Conv1d", "Conv2d")
    if not steps or not (cells or (layers and graph.of("IF"))):
        return None
    what = "time constants of a step and more" if cells else "IF behind convolutions"
    traces = what + ", nodes 'input' and 'output', r = 1 in single precision in every neuron, no Linear"
    return Sign(Writer.SINABS, traces, None, "1, for sinabs counts in steps", _SINABS_RESET)


def _unit_integrators(graph: FlatGraph) -> Sign | None:
    """What Norse and sinabs write of integrators behind dense layers is one file."""
    cells = graph.of("IF")
    if not cells or len(cells) < len(graph.neurons) or not _has_unit_gains(graph):
        return None
    if len(graph.of("Affine", "Input", "Output", "IF")) < len(graph.parameters):
        return None
    traces = "nodes 'input' and 'output', IF with r = 1 in single precision behind Affine alone"
    hint = "1, for both add their whole input"
    reset = f"for sinabs {_SINABS_RESET}; for Norse zero, or subtract for reset_subtract"
    return Sign(Writer.NORSE_OR_SINABS, traces, None, hint, reset)


def _time_constant(node: Any) -> NDArray[Any]:
    """Of the membrane."""
    tau: NDArray[Any] = node.tau_mem if hasattr(node, "tau_mem") else node.tau
    return tau


def _has_unit_gains(graph: FlatGraph) -> bool:
    """Whether every neuron has r = 1 in single precision, and the ends the names of old nirtorch."""
    if not graph.neurons or not _is_named_by_old_nirtorch(graph):
        return False
    return all(
        all_close(node.r, 1) and node.r.dtype == np.float32 and not np.any(getattr(node, "v_reset", 0))
        for node in graph.neurons.values()
    )


def _nirtorch(graph: FlatGraph) -> Sign | None:
    if not _is_traced_by_fx(graph) or not graph.neurons:
        return None
    traces = "its Input bears the name of an argument, its Output is called 'output'"
    return Sign(Writer.NIRTORCH, traces, None, "the step of the model", "that of the model's neurons")


def _is_traced_by_fx(graph: FlatGraph) -> bool:
    """One Input with an argument's name ("input_1" where that is "input"), one Output called "output"."""
    entering, leaving = list(graph.of("Input")), list(graph.of("Output"))
    return len(entering) == 1 and entering != ["input"] and leaving == ["output"] and not graph.metadata


def _is_named_by_old_nirtorch(graph: FlatGraph) -> bool:
    return "input" in graph.of("Input") and list(graph.of("Output")) == ["output"] and not graph.metadata


def is_sequential(graph: FlatGraph) -> bool:
    """Whether torch.fx traced a Sequential, whose modules are numbers and which holds no sums."""
    return all(_FX_NUMBERED.fullmatch(name) for name in graph.parameters if name not in {"input_1", "output"})


_RECOGNISERS: tuple[Callable[[FlatGraph], Sign | None], ...] = (
    _spikingjelly,
    _rockpool,
    _snntorch,
    _norse,
    _sinabs,
    _unit_integrators,
    _nirtorch,
)


def some_names(names: Mapping[str, Any]) -> str:
    """A few of the names, for a sentence."""
    listed = [f"'{name}'" for name in names]
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more


def all_close(values: NDArray[Any], wanted: Any, tolerance: float = 0.0) -> bool:
    """Whether all values are the wanted ones, up to a relative tolerance."""
    apart = np.abs(np.asarray(values, np.float64) - np.asarray(wanted, np.float64))
    return bool(np.all(apart <= tolerance * np.abs(np.asarray(wanted, np.float64))))
