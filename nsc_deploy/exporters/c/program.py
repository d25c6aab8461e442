"""A program: what the C code of a folder computes, in integers, and nothing else.

Every backend of this target is held to these equations. In a step, population after population in order:

    x    = sum over the connections of weight @ (events of the source, `delay` steps late)
    c    = sum of the constants whose `start` is not behind this step, steps counted from 0
    u    = trunc(keep_u * u / 4096) + x * 2^shift + c      with a synaptic current, else u = x * 2^shift + c
    v    = clip(trunc(keep_v * v / 4096) + u + bias)       to -(2^23 - 1) .. 2^23 - 1
    s    = v > threshold
    v    = floor where s (reset to a value), or v - threshold where s (reset by subtraction)

`trunc` rounds toward zero. An integrator has no threshold: it never fires, and its v is what it gives out.
Where the potentials of neurons that fire leave, they are those that the threshold meets.
All states, and all events before the first step, are 0. That is the arithmetic of Lava 0.10.0 where a
graph can be held there (see `exporters.lava.arithmetic`), with the time of the graph: no connection takes a
step by itself. Where samples come in, `comparators` says how they become events.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError
from nsc_deploy.exporters.c.comparators import HIGHEST, LOWEST, Comparators
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.graphs.connectivity import Axes
from nsc_deploy.graphs.network import Shape

Integers = NDArray[np.int32]
UNITY = 4096
STATE_LIMIT = 2**23
WEIGHT_LIMIT = 127
MAX_SHIFT = 14
MAX_DELAY = 255
BIAS_LIMIT = 2**20
MAX_SIZE = 2**20


@dataclass(frozen=True, eq=False)
class Kernel:
    """Weights that a convolution uses at many places.

    Attributes:
        weight: [output channels, input channels / groups, *taps] int32.
        axes: of space, as many as there are axes of taps.
        groups: blocks of channels that see only their own inputs.
    """

    weight: Integers
    axes: Axes
    groups: int = 1

    @property
    def output_shape(self) -> Shape:
        """[channels, *space]."""
        return (len(self.weight), *(axis.outputs for axis in self.axes))


@dataclass(frozen=True, eq=False)
class Connection:
    """The synapses from one signal onto a population.

    Attributes:
        source: name of the input or of a population.
        delay: steps that its events are late; at least 1 from a population that comes later, or the same.
        weight: [targets, sources] int32 in -127..127.
        kernel: the same weights as those of one convolution, where they are; else None.
    """

    source: str
    delay: int
    weight: Matrix
    kernel: Kernel | None = None


@dataclass(frozen=True, eq=False)
class Constant:
    """What arrives in every step from one on: a bias that a synapse filters, or that came through a Delay.

    Attributes:
        start: the first step that it arrives in, counted from 0.
        value: [size] int32, in units of the potential.
    """

    start: int
    value: Integers


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons of one node of the graph; all arrays are [size].

    Attributes:
        name: of the node.
        connections: what drives them.
        shift: 0..14, what arrives counts 2^shift in the units of the potential.
        keep_v: int32 in 0..4096, what stays of the potential in a step, in 4096ths.
        keep_u: the same of the synaptic current; None without one.
        bias: int32, added in every step.
        threshold: int32, a spike needs a potential above it; None for an integrator.
        floor: int32, the potential after a spike; None where a spike takes the threshold off instead.
        scale: float64, units of the potential for one unit of the graph.
        constants: added to what arrives, by their start.
    """

    name: str
    connections: tuple[Connection, ...]
    shift: int
    keep_v: Integers
    keep_u: Integers | None
    bias: Integers
    threshold: Integers | None
    floor: Integers | None
    scale: NDArray[np.float64]
    constants: tuple[Constant, ...] = ()

    @property
    def size(self) -> int:
        """Number of neurons."""
        return int(self.keep_v.size)

    @property
    def synapses(self) -> int:
        """Number of weights that are not zero."""
        return sum(one.weight.synapses for one in self.connections)

    def strongest_current(self) -> NDArray[np.int64]:
        """The largest magnitude of u that any events and the constants can bring about, [size]."""
        arriving = sum(
            (one.weight.strongest_drive() for one in self.connections), start=np.zeros(self.size)
        ) * float(2**self.shift)
        arriving += self.strongest_constant()
        if self.keep_u is None:
            return np.ceil(arriving).astype(np.int64)
        gone = np.maximum(UNITY - self.keep_u.astype(np.float64), 1e-9)
        return np.ceil(np.minimum(arriving * UNITY / gone, 2.0**40)).astype(np.int64)

    def strongest_constant(self) -> NDArray[np.float64]:
        """The largest magnitude of the constants of any step together, [size]."""
        if not self.constants:
            return np.zeros(self.size)
        values = np.stack([one.value for one in self.constants]).astype(np.float64)
        strongest: NDArray[np.float64] = np.abs(values.cumsum(axis=0)).max(axis=0)
        return strongest


@dataclass(frozen=True)
class Output:
    """What leaves the program in each step.

    Attributes:
        source: name of the input or of a population: its spikes, or the potentials of an integrator.
        delay: steps that they are late.
        potentials: whether those of neurons that fire leave, as they are before the reset, and no spikes.
    """

    source: str
    delay: int = 0
    potentials: bool = False


@dataclass(frozen=True)
class Program:
    """A whole network.

    Attributes:
        input: name of the input.
        inputs: its number of event lines.
        populations: in the order of a step.
        output: what leaves.
        dt: length of a step in seconds; None where nothing depends on it.
        front_end: what makes the events of received samples; None where events come in.
    """

    input: str
    inputs: int
    populations: tuple[Population, ...]
    output: Output
    dt: float | None
    front_end: Comparators | None = None

    def size(self, signal: str) -> int:
        """Number of lines of the input or of a population."""
        return self.inputs if signal == self.input else self.population(signal).size

    def population(self, name: str) -> Population:
        """The population called `name`."""
        return next(one for one in self.populations if one.name == name)

    @property
    def outputs(self) -> int:
        """Number of lines that leave."""
        return self.size(self.output.source)

    @property
    def gives_values(self) -> bool:
        """Whether potentials leave and not spikes."""
        if self.output.source == self.input:
            return False
        return self.output.potentials or self.population(self.output.source).threshold is None

    def depth(self, signal: str) -> int:
        """The largest delay with which anything reads a signal, in steps."""
        delays = [one.delay for _, one in self.connections() if one.source == signal]
        if self.output.source == signal:
            delays.append(self.output.delay)
        return max(delays, default=0)

    @property
    def settled(self) -> int:
        """The first step from which on every constant arrives."""
        return max((each.start for one in self.populations for each in one.constants), default=0)

    def connections(self) -> Iterator[tuple[Population, Connection]]:
        """Every connection with the population it drives."""
        return ((one, connection) for one in self.populations for connection in one.connections)


def validate(program: Program) -> None:
    """Check sizes, order and every range: after it no sum of the C code can overflow.

    Raises:
        DataError: with the population and the parameter.
    """
    if program.front_end is not None:
        _validate_front_end(program.front_end, program.inputs)
    known = {program.input: program.inputs}
    sizes = known | {one.name: one.size for one in program.populations}
    if len(sizes) != len(program.populations) + 1 or not 1 <= program.inputs <= MAX_SIZE:
        raise DataError("names a signal twice, or has an impossible number of inputs", where="program")
    for one in program.populations:
        where = f"population '{one.name}'"
        _validate_arrays(one, where)
        for connection in one.connections:
            if sizes.get(connection.source) != connection.weight.shape[1]:
                raise DataError(f"reads '{connection.source}', which has another size", where=where)
            if connection.weight.shape[0] != one.size:
                raise DataError("has weights for another number of neurons", where=where)
            least = 0 if connection.source in known else 1
            if not least <= connection.delay <= MAX_DELAY:
                raise DataError(f"reads '{connection.source}' too early or too late", where=where)
            _in_range(f"{where}, weight", connection.weight.values, -WEIGHT_LIMIT, WEIGHT_LIMIT)
        if one.threshold is not None and one.floor is None and (one.threshold < 0).any():
            raise DataError("takes off thresholds below zero, which never ends", where=where)
        if (one.strongest_current() >= STATE_LIMIT).any():
            raise DataError("has a synaptic current that can leave 24 bits", where=where)
        known[one.name] = one.size
    if program.output.source not in known or not 0 <= program.output.delay <= MAX_DELAY:
        raise DataError("has an output that nothing drives", where="program")
    if program.gives_values and program.output.delay:
        raise DataError("delays values, which only spikes can be", where="program")


def _validate_front_end(one: Comparators, lines: int) -> None:
    where = f"comparators '{one.name}'"
    if one.lines != lines or one.source.ndim != 2 or not 1 <= one.samples <= MAX_SIZE:
        raise DataError("have an impossible size", where=where)
    if one.low.shape != one.source.shape or one.high.shape != one.source.shape:
        raise DataError("have limits of another size", where=where)
    if not 0 <= one.fraction_bits <= 15:
        raise DataError("have samples of another kind", where=where)
    _in_range(f"{where}, samples", one.source, 0, one.samples - 1)
    for limits in (one.low, one.high):
        _in_range(f"{where}, limits", limits, LOWEST, HIGHEST)


def _validate_arrays(one: Population, where: str) -> None:
    if not 1 <= one.size <= MAX_SIZE or not 0 <= one.shift <= MAX_SHIFT:
        raise DataError("has an impossible size or shift", where=where)
    limits: Mapping[str, tuple[int, int]] = {
        "keep_v": (0, UNITY),
        "keep_u": (0, UNITY - 1),
        "bias": (-BIAS_LIMIT, BIAS_LIMIT),
        "threshold": (-STATE_LIMIT + 1, STATE_LIMIT - 1),
        "floor": (-STATE_LIMIT + 1, STATE_LIMIT - 1),
    }
    for name, (low, high) in limits.items():
        _check_array(f"{where}, {name}", getattr(one, name), one.size, low, high)
    starts = [each.start for each in one.constants]
    if starts != sorted(set(starts)) or not all(0 <= start <= MAX_DELAY for start in starts):
        raise DataError("has constants that start too late or out of order", where=where)
    for each in one.constants:
        _check_array(f"{where}, constants", each.value, one.size, -STATE_LIMIT + 1, STATE_LIMIT - 1)
    if one.scale.shape != (one.size,) or not (one.scale > 0).all():
        raise DataError("has scales that are none", where=where)


def _check_array(where: str, values: Integers | None, size: int, low: int, high: int) -> None:
    if values is None:
        return
    if values.shape != (size,) or values.dtype != np.int32:
        raise DataError(f"has the shape {values.shape} of {values.dtype}", where=where)
    _in_range(where, values, low, high)


def _in_range(where: str, values: NDArray[Any], low: int, high: int) -> None:
    if values.size and (values.min() < low or values.max() > high):
        raise DataError(f"leaves the range {low}..{high}", where=where)


def unrolled(kernel: Kernel, sources: int) -> Matrix:
    """The weights of a convolution as a matrix [outputs, sources].

    Raises:
        ValueError: the kernel does not fit so many sources.
    """
    from nsc_deploy.graphs.connectivity import pairs

    place, tap, position = pairs(kernel.axes)
    places = int(np.prod([axis.outputs for axis in kernel.axes]))
    pixels = int(np.prod([axis.inputs for axis in kernel.axes]))
    channels, per_group = kernel.weight.shape[:2]
    if per_group * kernel.groups * pixels != sources or channels % kernel.groups:
        raise ValueError(f"a kernel of another size than {sources} sources")
    taps = kernel.weight.reshape(channels, per_group, -1)
    channel = np.arange(channels)[:, None, None]
    line = np.arange(per_group)[None, :, None] + channel // (channels // kernel.groups) * per_group
    shape = (channels, per_group, len(place))
    return Matrix.from_entries(
        (channels * places, sources),
        np.broadcast_to(channel * places + place, shape).reshape(-1),
        np.broadcast_to(line * pixels + position, shape).reshape(-1),
        taps[:, :, tap].reshape(-1),
    )
