"""A network of integers: what Lava computes with, nothing else.

The network is a chain. Each layer is one connection (Lava's Dense, Sparse or DelaySparse), the LIF neurons
it feeds and, in a cycle, a connection from their spikes back to them; a layer may hold neurons of several
graph nodes side by side, each row with its own scale.

An integer network as a file of numbers (.npz), read back with every range checked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.io.npz import load_npz, save_npz

Integers = NDArray[np.int32]
WEIGHT_STEP = 2
WEIGHT_LIMIT = 254
DECAY_UNITY = 4096
THRESHOLD_LIMIT = 2**17 - 1
BIAS_LIMIT = 2**12 - 1
MAX_BIAS_EXP = 7
MAX_WEIGHT_EXP = 7
MAX_DELAY = 62
MAX_LATE = 4096
"""Steps that rows may be later than their layer: a run is prolonged by as many."""
STATE_LIMIT = 2**23
FIXED_POINT_BITS = 6
NO_CURRENT = DECAY_UNITY - 1
SPARSE_PLACES = 2**20
SPARSE_SHARE = 1 / 8


class Role(StrEnum):
    """Why a group of neurons is in a layer."""

    NEURON = "neuron"
    RELAY = "relay"
    DELAY = "delay"


@dataclass(frozen=True)
class Group:
    """Neurons of one layer that stand for one node of the graph.

    Attributes:
        node: the graph node whose output they carry.
        role: the node's own neurons, a relay of its spikes, or its delay line.
        start: first row in the layer.
        size: number of rows.
        scale: weight units for one unit of the graph's weights and thresholds; one for each row where
            they differ.
        late: steps by which these rows are later than the layer; above 0 in and behind some cycles.
    """

    node: str
    role: Role
    start: int
    size: int
    scale: float | tuple[float, ...]
    late: int = 0

    @property
    def rows(self) -> slice:
        """The rows of the layer that belong to the group."""
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True)
class IntegerLayer:
    """One connection and the neurons behind it.

    With all quantities in Lava's own integers (see `arithmetic` for the equations):

    Attributes:
        weight: [out, in] int32, even, in -254..254; a spike adds weight << weight_exp (and the neuron
            shifts that left by 6). Weights of both signs have 8 bits and a sign mode that doubles them.
        delay: [out] int32 in 0..62, further steps every spike takes on its way to that neuron, those
            of the layer's own neurons as well.
        du: [out] int32 in 0..4095, decay of the synaptic current; 4095 means no memory.
        dv: [out] int32 in 0..4096, decay of the membrane potential; 4096 means no memory.
        vth: [out] int32 in 0..2^17 - 1, threshold in units of what arrives (weight << weight_exp).
        bias: [out] int32 in -4095..4095, mantissa of the bias.
        bias_exp: [out] int32 in 0..7, exponent of the bias; 6 makes the mantissa count in units of vth.
        weight_exp: 0..7, one for the layer: lets thresholds be finer than weights.
        groups: what the rows stand for, in order and without gaps.
        recurrent: [out, out], what a spike adds one step later, as `weight`; None without a cycle.
        subtracts: whether a spike takes the threshold off the potential, which no process of Lava's does:
            neurons of our own (`subtractive_lif`) in place of LIFReset.
    """

    weight: Matrix
    delay: Integers
    du: Integers
    dv: Integers
    vth: Integers
    bias: Integers
    bias_exp: Integers
    weight_exp: int = 0
    groups: tuple[Group, ...] = ()
    recurrent: Matrix | None = None
    subtracts: bool = False

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return int(self.weight.shape[0])

    @property
    def inputs(self) -> int:
        """Number of lines that come in."""
        return int(self.weight.shape[1])

    @property
    def synapses(self) -> int:
        """Number of weights that are not zero."""
        return self.weight.synapses + (0 if self.recurrent is None else self.recurrent.synapses)

    @property
    def max_delay(self) -> int:
        """The longest delay of a synapse, in steps."""
        return int(self.delay.max())

    @property
    def late(self) -> int:
        """The largest lateness of a row, in steps."""
        return max((group.late for group in self.groups), default=0)


@dataclass(frozen=True)
class IntegerNetwork:
    """A chain of integer layers.

    Attributes:
        layers: in order; the neurons of one are the input lines of the next.
        dt: length of a step in seconds.
        graded: whether the potentials of the last layer leave, those before the reset, and not its spikes.
    """

    layers: tuple[IntegerLayer, ...]
    dt: float
    graded: bool = False

    @property
    def inputs(self) -> int:
        """Number of input lines."""
        return self.layers[0].inputs

    @property
    def outputs(self) -> int:
        """Number of neurons of the last layer."""
        return self.layers[-1].neurons

    @property
    def latency(self) -> int:
        """Steps from an input to the output it causes: one for each connection, and what a cycle adds."""
        return len(self.layers) + self.layers[-1].late

    @property
    def late(self) -> int:
        """The largest lateness of a row, in steps."""
        return max(layer.late for layer in self.layers)


def kept_sparse(weight: Matrix) -> bool:
    """Whether weights are stored and run as a list (Lava's Sparse): large and mostly zero."""
    places = weight.shape[0] * weight.shape[1]
    return places > SPARSE_PLACES and weight.synapses < SPARSE_SHARE * places


def validate(network: IntegerNetwork) -> None:
    """Check shapes and every range, because Lava itself checks none before it hangs.

    Raises:
        DataError: with the layer and the parameter.
    """
    if not network.layers:
        raise DataError("an integer network needs at least one layer")
    if network.graded and len(network.layers[-1].groups) > 1:
        raise DataError("gives out the potentials of several nodes")
    width = network.inputs
    for index, layer in enumerate(network.layers):
        if layer.inputs != width or layer.neurons < 1:
            raise DataError(
                f"has weights of shape {layer.weight.shape} for {width} inputs", where=f"layer {index}"
            )
        if layer.recurrent is not None and layer.recurrent.shape != (layer.neurons, layer.neurons):
            raise DataError(
                f"has recurrent weights of shape {layer.recurrent.shape} for {layer.neurons} neurons",
                where=f"layer {index}",
            )
        _validate_ranges(index, layer)
        width = layer.neurons


def _validate_ranges(index: int, layer: IntegerLayer) -> None:
    if not 0 <= layer.weight_exp <= MAX_WEIGHT_EXP:
        raise DataError(f"leaves the range 0..{MAX_WEIGHT_EXP}", where=f"layer {index}, weight_exp")
    for name, weight in (("weight", layer.weight), ("recurrent", layer.recurrent)):
        if weight is not None:
            _in_range(f"layer {index}, {name}", weight.values, -WEIGHT_LIMIT, WEIGHT_LIMIT)
            if (weight.values % WEIGHT_STEP).any():
                raise DataError(
                    "holds odd weights, which lose their lowest bit", where=f"layer {index}, {name}"
                )
    if layer.late > MAX_LATE:
        raise DataError(
            f"has neurons that are late by {layer.late} steps, more than {MAX_LATE}", where=f"layer {index}"
        )
    for group in layer.groups:
        if group.start < 0 or group.start + group.size > layer.neurons:
            raise DataError(
                f"has {layer.neurons} neurons, and '{group.node}' is said to be "
                f"{group.start} to {group.start + group.size - 1}",
                where=f"layer {index}",
            )
    limits = {
        "delay": (0, MAX_DELAY),
        "du": (0, NO_CURRENT),
        "dv": (0, DECAY_UNITY),
        "vth": (0, THRESHOLD_LIMIT),
        "bias": (-BIAS_LIMIT, BIAS_LIMIT),
        "bias_exp": (0, MAX_BIAS_EXP),
    }
    for name, (low, high) in limits.items():
        values: NDArray[Any] = getattr(layer, name)
        if values.shape != (layer.neurons,):
            raise DataError(f"has the shape {values.shape}", where=f"layer {index}, {name}")
        _in_range(f"layer {index}, {name}", values, low, high)


def _in_range(where: str, values: NDArray[Any], low: int, high: int) -> None:
    if values.dtype != np.int32:
        raise DataError(f"holds {values.dtype} where int32 is wanted", where=where)
    if values.size and (values.min() < low or values.max() > high):
        raise DataError(f"leaves the range {low}..{high}", where=where)


VECTORS = ("delay", "du", "dv", "vth", "bias", "bias_exp")


def write_integers(path: Path, network: IntegerNetwork) -> None:
    """Write the numbers of a network as .npz (the groups belong into the manifest).

    Layer `i` has the vectors `i.delay` and so on. Its weights are the array `i.weight` [out, in] or, where
    that would be large and mostly zero, a list: `i.weight.values` and `i.weight.source` of each synapse,
    ordered by target, and `i.weight.start`, where the list of each target begins. `i.recurrent` likewise.
    `i.subtracts` is there where it is true, and so is `graded`.
    """
    arrays: dict[str, NDArray[Any]] = {"dt": np.asarray(network.dt)}
    if network.graded:
        arrays["graded"] = np.asarray(True)
    for index, layer in enumerate(network.layers):
        arrays |= _weight_arrays(f"{index}.weight", layer.weight)
        if layer.recurrent is not None:
            arrays |= _weight_arrays(f"{index}.recurrent", layer.recurrent)
        arrays |= {f"{index}.{name}": getattr(layer, name) for name in VECTORS}
        arrays[f"{index}.weight_exp"] = np.asarray(layer.weight_exp)
        if layer.subtracts:
            arrays[f"{index}.subtracts"] = np.asarray(True)
    save_npz(path, arrays)


def read_integers(path: Path, groups: tuple[tuple[Group, ...], ...]) -> IntegerNetwork:
    """Read what `write_integers` wrote and check it.

    Raises:
        DataError: missing, damaged, or out of range.
    """
    arrays = load_npz(path)
    held = {name.split(".", maxsplit=1)[0] for name in arrays} - {"dt", "graded"}
    if held != {str(index) for index in range(len(groups))}:
        raise DataError(f"holds {len(held)} layers where the manifest names {len(groups)}", where=path)
    try:
        layers = tuple(_layer(arrays, index, layer_groups) for index, layer_groups in enumerate(groups))
        network = IntegerNetwork(layers, float(arrays["dt"]), "graded" in arrays)
        validate(network)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"does not hold the layers the manifest names ({error})", where=path) from error
    except DataError as error:
        raise DataError(error.problem, where=f"{path}: {error.where}") from error
    return network


def _weight_arrays(name: str, weight: Matrix) -> dict[str, NDArray[Any]]:
    if not kept_sparse(weight):
        return {name: weight.dense()}
    start = np.searchsorted(weight.target, np.arange(weight.shape[0] + 1))
    return {
        f"{name}.values": weight.values,
        f"{name}.source": weight.source.astype(np.int32),
        f"{name}.start": start.astype(np.int32),
        f"{name}.sources": np.asarray(weight.shape[1]),
    }


def _layer(arrays: Mapping[str, NDArray[Any]], index: int, groups: tuple[Group, ...]) -> IntegerLayer:
    recurrent = f"{index}.recurrent"
    cyclic = recurrent in arrays or f"{recurrent}.values" in arrays
    return IntegerLayer(
        weight=_weight(arrays, f"{index}.weight"),
        **{name: arrays[f"{index}.{name}"] for name in VECTORS},
        weight_exp=int(arrays[f"{index}.weight_exp"]),
        groups=groups,
        recurrent=_weight(arrays, recurrent) if cyclic else None,
        subtracts=f"{index}.subtracts" in arrays,
    )


def _weight(arrays: Mapping[str, NDArray[Any]], name: str) -> Matrix:
    """The weights called `name`.

    Raises:
        KeyError: there are none.
        ValueError: a list that is no list of synapses.
    """
    if f"{name}.values" not in arrays:
        full = arrays[name]
        if full.ndim != 2:
            raise ValueError(f"{name} has {full.ndim} dimensions")
        return Matrix.of(full)
    values, source, start = (arrays[f"{name}.{part}"] for part in ("values", "source", "start"))
    sources = int(arrays[f"{name}.sources"])
    if (
        not values.ndim == source.ndim == start.ndim == 1
        or len(values) != len(source)
        or len(start) < 2
        or start[0] != 0
        or start[-1] != len(values)
        or (np.diff(start) < 0).any()
        or (len(source) and not 0 <= source.min() <= source.max() < sources)
    ):
        raise ValueError(f"{name} is no list of synapses")
    target = np.repeat(np.arange(len(start) - 1), np.diff(start))
    return Matrix.from_entries((len(start) - 1, sources), target, source, values)
