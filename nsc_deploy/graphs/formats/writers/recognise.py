"""Which framework a graph looks like: a guess by its traces, for NIR files do not name their writer."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.flow import FlatGraph

SNNTORCH_DT = 1e-4
_ROUNDED = 1e-5
_FX_NUMBERED = re.compile(r"_\d+(_\d+)*$")


class Writer(StrEnum):
    """A program that writes NIR files."""

    SNNTORCH = "snnTorch's export_to_nir"
    NORSE = "Norse's to_nir"
    SPIKINGJELLY = "SpikingJelly's export_to_nir"
    NIRTORCH = "nirtorch's torch_to_nir"


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


def _norse(graph: FlatGraph) -> Sign | None:
    cells = graph.of("LIF", "IF", "CubaLIF", "LI")
    if (
        not cells
        or len(cells) < len(graph.neurons)
        or graph.of("Linear")
        or not _is_named_by_old_nirtorch(graph)
    ):
        return None
    for node in cells.values():
        if not all_close(node.r, 1) or node.r.dtype != np.float32 or np.any(getattr(node, "v_reset", 0)):
            return None
    traces = "nodes 'input' and 'output', r = 1 in single precision in every neuron, no Linear"
    hint = "the square of the step in seconds, 1e-6 for one of 1 ms (see the warning after that)"
    return Sign(Writer.NORSE, traces, None, hint, "zero, or subtract for reset_method=reset_subtract")


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


_RECOGNISERS: tuple[Callable[[FlatGraph], Sign | None], ...] = (_spikingjelly, _snntorch, _norse, _nirtorch)


def some_names(names: Mapping[str, Any]) -> str:
    """A few of the names, for a sentence."""
    listed = [f"'{name}'" for name in names]
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more


def all_close(values: NDArray[Any], wanted: Any, tolerance: float = 0.0) -> bool:
    """Whether all values are the wanted ones, up to a relative tolerance."""
    apart = np.abs(np.asarray(values, np.float64) - np.asarray(wanted, np.float64))
    return bool(np.all(apart <= tolerance * np.abs(np.asarray(wanted, np.float64))))
