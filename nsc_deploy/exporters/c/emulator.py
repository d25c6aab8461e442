"""The arithmetic of a program on a batch of samples, in numpy; the C code is held to it in every spike.

The equations stand in `program`; this is their one implementation beside the C that is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.c.program import STATE_LIMIT, Integers, Population, Program

Spikes = NDArray[np.uint8]
_LARGEST = STATE_LIMIT - 1


@dataclass(frozen=True)
class PopulationTrace:
    """What a population did, each [steps, samples, size].

    Attributes:
        spikes: uint8.
        charged: int32, the potential before the reset; for an integrator what it gives out.
    """

    spikes: Spikes
    charged: Integers


@dataclass(frozen=True)
class ProgramTrace:
    """A run of a program.

    Attributes:
        output: [steps, samples, outputs], uint8 spikes or int32 potentials.
        populations: by name, where they were recorded.
    """

    output: NDArray[Any]
    populations: Mapping[str, PopulationTrace]


def emulate(program: Program, events: NDArray[Any], *, record: bool = False) -> ProgramTrace:
    """Run samples, each from rest.

    Args:
        program: valid (see `program.validate`).
        events: [steps, samples, inputs] of 0 and 1; or what its front end takes in (see `entering`).
        record: whether every population is kept, and not only the output.
    """
    if program.front_end is not None:
        events = program.front_end.events(events)
    steps, samples, _ = events.shape
    states = {one.name: _State(one, samples) for one in program.populations}
    spikes: dict[str, Spikes] = {program.input: events.astype(np.uint8)}
    kept = {program.output.source} if not record else {one.name for one in program.populations}
    charged = {name: np.zeros((steps, samples, program.size(name)), np.int32) for name in kept & set(states)}
    for one in program.populations:
        spikes[one.name] = np.zeros((steps, samples, one.size), np.uint8)
    for step in range(steps):
        for one in program.populations:
            arriving = np.zeros((samples, one.size), np.int32)
            for connection in one.connections:
                if step >= connection.delay:
                    source = spikes[connection.source][step - connection.delay].astype(np.int32)
                    if source.any():
                        arriving += (connection.weight.stored @ source.T).T.astype(np.int32)
            potential, fired = states[one.name].step(arriving)
            spikes[one.name][step] = fired
            if one.name in charged:
                charged[one.name][step] = potential
    traces = {name: PopulationTrace(spikes[name], values) for name, values in charged.items() if record}
    if program.gives_values:
        return ProgramTrace(charged[program.output.source], traces)
    leaving, late = np.zeros_like(spikes[program.output.source]), program.output.delay
    leaving[late:] = spikes[program.output.source][: max(0, steps - late)]
    return ProgramTrace(leaving, traces)


def entering(program: Program, values: NDArray[Any]) -> NDArray[Any]:
    """Inputs of the graph [steps, samples, *shape] as they enter: events as uint8, or samples as int16."""
    flat = values.reshape(*values.shape[:2], -1)
    return flat.astype(np.uint8) if program.front_end is None else program.front_end.quantised(flat)


def clipped_in(one: Population, charged: Integers) -> NDArray[np.int64]:
    """For each neuron, in how many (step, sample) a potential that it keeps was cut: charged of a trace."""
    clipped = charged <= -_LARGEST
    if one.floor is None:
        clipped |= charged >= _LARGEST
    found: NDArray[np.int64] = clipped.sum((0, 1)) * (one.keep_v > 0)
    return found


class _State:
    """Current and potential of a population, [samples, size]."""

    def __init__(self, population: Population, samples: int) -> None:
        self._population = population
        self._current = np.zeros((samples, population.size), np.int64)
        self._potential = np.zeros((samples, population.size), np.int64)
        self._steps = 0

    def step(self, arriving: Integers) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Potentials before the reset, and who fires."""
        one = self._population
        current: NDArray[np.int64] = arriving.astype(np.int64) << np.int64(one.shift)
        for constant in one.constants:
            if self._steps >= constant.start:
                current += constant.value
        self._steps += 1
        if one.keep_u is not None:
            current += _kept(self._current, one.keep_u)
            self._current = current
        driven = _kept(self._potential, one.keep_v) + current + one.bias
        potential: NDArray[np.int64] = np.clip(driven, -_LARGEST, _LARGEST)
        if one.threshold is None:
            self._potential = potential
            return potential, np.zeros(potential.shape, bool)
        fired: NDArray[np.bool_] = potential > one.threshold
        after = potential - one.threshold if one.floor is None else one.floor
        self._potential = np.where(fired, after, potential)
        return potential, fired


def _kept(state: NDArray[np.int64], keep: Integers) -> NDArray[np.int64]:
    """`keep` 4096ths of a state, rounded toward zero."""
    kept: NDArray[np.int64] = np.sign(state) * ((np.abs(state) * keep.astype(np.int64)) >> np.int64(12))
    return kept
