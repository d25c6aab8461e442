"""What differs between the frameworks a module can be written for."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.operators.neurons import Coefficients

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Layer:
    """A layer of a module.

    Attributes:
        expression: the Python expression that makes it.
        arrays: its part of the state dictionary.
        helpers: the definitions of the template it needs.
    """

    expression: str
    arrays: Arrays
    helpers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Import:
    """A line that a module needs where one of these helpers is in it; always, where none is named."""

    line: str
    helpers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Framework(ABC):
    """A framework by name, with the lines that import what its templates use.

    Attributes:
        name: of the package, of the target and of the template.
        title: as it writes itself.
        imports: import lines of a module, in order.
        remark: what a reader should know about the neurons.
    """

    name: str
    title: str
    imports: tuple[Import, ...]
    remark: str

    @abstractmethod
    def neuron(
        self, shape: str, numbers: Coefficients, threshold: NDArray[Any], floor: NDArray[Any]
    ) -> Layer:
        """A layer called with current and potential, that gives spikes and the potential after the reset."""

    @abstractmethod
    def integrator(self, shape: str, decay: NDArray[Any]) -> Layer:
        """A layer called with current and potential, that gives the new potential twice."""


class SnnTorch(Framework):
    """The framework snnTorch: `snn.Leaky`."""

    def neuron(
        self, shape: str, numbers: Coefficients, threshold: NDArray[Any], floor: NDArray[Any]
    ) -> Layer:
        """`snn.Leaky` itself where its reset in the same step is exact, else with the reset written out."""
        arrays = {"beta": numbers.decay, "threshold": threshold, "graded_spikes_factor": np.float32(1)}
        if not numbers.subtract and not floor.any() and (threshold >= 0).all():
            held = {**arrays, "reset_mechanism_val": np.int64(_ZERO)}
            return Layer(f"leaky({shape})", _as_arrays(held), frozenset({"leaky"}))
        inner = {f"neuron.{key}": value for key, value in arrays.items()}
        held = {**inner, "neuron.reset_mechanism_val": np.int64(_NONE), "floor": floor}
        how = ", subtract=True" if numbers.subtract else ""
        return Layer(f"Neuron({shape}{how})", _as_arrays(held), frozenset({"Neuron"}))

    def integrator(self, shape: str, decay: NDArray[Any]) -> Layer:
        """`snn.Leaky` without a reset."""
        held = {
            "neuron.beta": decay,
            "neuron.threshold": np.zeros_like(decay),
            "neuron.graded_spikes_factor": np.float32(1),
            "neuron.reset_mechanism_val": np.int64(_NONE),
        }
        return Layer(f"Integrator({shape})", _as_arrays(held), frozenset({"Integrator"}))


class Norse(Framework):
    """The framework Norse: `SNNCell` with its box states and parameters."""

    def neuron(
        self, shape: str, numbers: Coefficients, threshold: NDArray[Any], floor: NDArray[Any]
    ) -> Layer:
        """Norse's cell with a step in the order of the reference simulator."""
        held = {"tau_mem_inv": _rate(numbers.decay), "v_th": threshold, "v_reset": floor}
        how = ", subtract=True" if numbers.subtract else ""
        return Layer(f"Neuron({shape}{how})", _as_arrays(held), frozenset({"Neuron"}))

    def integrator(self, shape: str, decay: NDArray[Any]) -> Layer:
        """Norse's cell without spikes."""
        return Layer(f"Integrator({shape})", {"tau_mem_inv": _rate(decay)}, frozenset({"Integrator"}))


_ZERO, _NONE = 1, 2
"""How snnTorch numbers the resets "zero" and "none" in its state dictionary."""

_SPIKING = frozenset({"Neuron", "Comparator"})
_INTEGRATOR = frozenset({"Integrator"})
_TORCH, _LOAD, _NN = (
    Import("import torch"),
    Import("from safetensors.torch import load_file"),
    Import("from torch import nn"),
)

SNNTORCH = SnnTorch(
    name="snntorch",
    title="snnTorch",
    imports=(
        Import("import snntorch as snn", frozenset({"leaky", "Neuron", "Integrator"})),
        _TORCH,
        _LOAD,
        Import("from snntorch import surrogate", frozenset({"leaky", "Neuron", "Comparator"})),
        _NN,
    ),
    remark="A spike resets its neuron in the same step (reset_delay=False). Every state is handed to its\n"
    "neuron explicitly: snnTorch would go on with the one of the call before.",
)
NORSE = Norse(
    name="norse",
    title="Norse",
    imports=(
        _TORCH,
        Import(
            "from norse.torch.functional.leaky_integrator_box import LIBoxParameters, LIBoxState", _INTEGRATOR
        ),
        Import(
            "from norse.torch.functional.lif_box import LIFBoxFeedForwardState, LIFBoxParameters",
            frozenset({"Neuron"}),
        ),
        Import("from norse.torch.functional.reset import reset_subtract, reset_value", frozenset({"Neuron"})),
        Import("from norse.torch.functional.threshold import threshold", _SPIKING),
        Import("from norse.torch.module.snn import SNNCell", _INTEGRATOR | {"Neuron"}),
        _LOAD,
        _NN,
    ),
    remark="Norse's time constants are counted in steps here: tau_mem_inv = 1 - decay of one step, in\n"
    "float64, so that the decay comes out exact.",
)


def _rate(decay: NDArray[Any]) -> NDArray[np.float64]:
    """1 / tau in steps; 1 minus it is the float32 decay again."""
    rate: NDArray[np.float64] = 1 - decay.astype(np.float64)
    return rate


def _as_arrays(values: dict[str, Any]) -> Arrays:
    return {name: np.asarray(value) for name, value in values.items()}
