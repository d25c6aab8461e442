"""Which framework a graph looks like; a guess by traces, never a claim."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from nsc_deploy.graphs.foreign.seen import Seen, equal

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
    def looks(self) -> str:
        """The beginning of an evidence."""
        return f"it looks like a file of {self.writer}: {self.traces}."


def sign_of(seen: Seen) -> Sign | None:
    """The writer whose traces a graph bears, or None."""
    if seen.own:
        return None
    return next((sign for sign in (recognise(seen) for recognise in _RECOGNISERS) if sign is not None), None)


def _spikingjelly(seen: Seen) -> Sign | None:
    kept = seen.of("LIF", "IF", "CubaLIF")
    if not kept or len(kept) < len(seen.neurons) or not _traced_by_fx(seen):
        return None
    if not all(_uniform_doubles(node) for node in kept.values()):
        return None
    if not all(equal(node.v_leak, node.v_reset) for node in seen.of("LIF").values()):
        return None
    rates = [float(node.r.flat[0]) for node in seen.of("IF").values() if node.r.size]
    rates += [float((node.r / node.tau_mem).flat[0]) for node in seen.of("CubaLIF").values() if node.r.size]
    if any(not np.isclose(rate, rates[0], rtol=_ROUNDED) or rate <= 0 for rate in rates):
        return None
    dt = 1 / rates[0] if rates else None
    told = f"{dt:g}, as its numbers say" if dt else "the dt given to the export, 1e-4 if none was"
    traces = "names as torch.fx gives them, neurons in double precision and alike within a layer"
    return Sign(Writer.SPIKINGJELLY, traces, dt, told, "zero, for the exporter refuses every other reset")


def _uniform_doubles(node: Any) -> bool:
    arrays = [value for value in vars(node).values() if isinstance(value, np.ndarray) and value.ndim]
    arrays = [array for array in arrays if array.shape == node.r.shape]
    return all(array.dtype == np.float64 and np.unique(array).size == 1 for array in arrays)


def _snntorch(seen: Seen) -> Sign | None:
    kept = seen.of("LIF", "CubaLIF")
    if not kept or len(kept) < len(seen.neurons):
        return None
    for node in kept.values():
        tau = getattr(node, "tau", None)
        taus = [(tau, node.r)] if tau is not None else [(node.tau_mem, node.r), (node.tau_syn, node.w_in)]
        if not all(equal(gain * SNNTORCH_DT, time, _ROUNDED) for time, gain in taus):
            return None
        if np.any(node.v_leak) or np.any(node.v_reset):
            return None
    traces = "every neuron has tau = 1e-4 s * r, no leak potential and no reset potential"
    return Sign(
        Writer.SNNTORCH, traces, SNNTORCH_DT, "1e-4, which it always writes", "the model's reset_mechanism"
    )


def _norse(seen: Seen) -> Sign | None:
    kept = seen.of("LIF", "IF", "CubaLIF", "LI")
    if not kept or len(kept) < len(seen.neurons) or seen.of("Linear") or not _named_by_old_nirtorch(seen):
        return None
    for node in kept.values():
        if not equal(node.r, 1) or node.r.dtype != np.float32 or np.any(getattr(node, "v_reset", 0)):
            return None
    traces = "nodes 'input' and 'output', r = 1 in single precision in every neuron, no Linear"
    hint = "the square of the step in seconds, 1e-6 for one of 1 ms (see the warning after that)"
    return Sign(Writer.NORSE, traces, None, hint, "zero, or subtract for reset_method=reset_subtract")


def _nirtorch(seen: Seen) -> Sign | None:
    if not _traced_by_fx(seen) or not seen.neurons:
        return None
    traces = "its Input bears the name of an argument, its Output is called 'output'"
    return Sign(Writer.NIRTORCH, traces, None, "the step of the model", "that of the model's neurons")


def _traced_by_fx(seen: Seen) -> bool:
    """One Input with an argument's name ("input_1" where that is "input"), one Output called "output"."""
    entering, leaving = list(seen.of("Input")), list(seen.of("Output"))
    return len(entering) == 1 and entering != ["input"] and leaving == ["output"] and not seen.metadata


def _named_by_old_nirtorch(seen: Seen) -> bool:
    return "input" in seen.of("Input") and list(seen.of("Output")) == ["output"] and not seen.metadata


def chained(seen: Seen) -> bool:
    """Whether torch.fx traced a Sequential, whose modules are numbers and which holds no sums."""
    return all(_FX_NUMBERED.fullmatch(name) for name in seen.parameters if name not in {"input_1", "output"})


_RECOGNISERS: tuple[Callable[[Seen], Sign | None], ...] = (_spikingjelly, _snntorch, _norse, _nirtorch)
