"""Integers for Lava as one backend among others: each layer of the graph shown in the units of the graph."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.lava.arithmetic import LayerTrace as IntegerTrace
from nsc_deploy.exporters.lava.arithmetic import output_spikes, run_network
from nsc_deploy.exporters.lava.integers import (
    DECAY_UNITY,
    FIXED_POINT_BITS,
    STATE_LIMIT,
    Group,
    IntegerLayer,
    IntegerNetwork,
    Role,
)
from nsc_deploy.exporters.lava.lowering.pipeline import flat_events
from nsc_deploy.exporters.lava.lowering.quantise import clipped_in
from nsc_deploy.exporters.lava.worker import run_in_lava
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.operators.neurons import coefficients
from nsc_deploy.verification.runner import Float32, LayerTrace, RunTrace

_SETTINGS = RunSettings()


class _IntegerRunner:
    """What runs integers.

    Args:
        integers: what is run.
        network: the graph they were made from.
        settings: how.
    """

    def __init__(self, integers: IntegerNetwork, network: Network, settings: RunSettings = _SETTINGS) -> None:
        self._integers = integers
        self._network = network
        self._settings = settings

    def _trace(self, spikes: NDArray[Any], traces: tuple[IntegerTrace, ...]) -> RunTrace:
        """The output, and the layers where they were kept, as the graph has them."""
        layers: dict[str, LayerTrace] = {}
        for layer, trace in zip(self._integers.layers, traces, strict=False):  # none where none are shown
            layers |= _shown(layer, trace, self._network)
        shape = (*spikes.shape[:2], *self._network.output_node.output_shape)
        if self._integers.graded:
            last = self._integers.layers[-1].groups[0].node
            output = layers[last].potentials
            if output is None:
                raise RuntimeError("neurons without potentials")
            return RunTrace(output.reshape(shape), layers if self._settings.layers else {})
        return RunTrace(spikes.reshape(shape), layers)


class EmulatorRunner(_IntegerRunner):
    """Runs integers in Lava's arithmetic, without Lava."""

    name = "twin"

    def __init__(self, integers: IntegerNetwork, network: Network, settings: RunSettings = _SETTINGS) -> None:
        super().__init__(integers, network, settings)
        self._clipped: dict[str, NDArray[np.int64]] = {}

    @property
    def clipped(self) -> Mapping[str, NDArray[np.int64]]:
        """For each node shown so far, in how many (step, sample) the potential of each neuron was cut."""
        return self._clipped

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest."""
        events = flat_events(values)
        kept = self._settings.layers or self._integers.graded
        traces = run_network(self._integers, events) if kept else ()
        spikes = traces[-1].spikes if traces else output_spikes(self._integers, events)
        for layer, trace in zip(self._integers.layers, traces, strict=False):  # none where none are kept
            self._count_clipped(layer, trace)
        self._settings.advance(values.shape[1])
        return self._trace(spikes, traces)

    def _count_clipped(self, layer: IntegerLayer, trace: IntegerTrace) -> None:
        clipped = clipped_in(layer, trace)
        for group in layer.groups:
            if group.role is Role.NEURON:
                self._clipped[group.node] = self._clipped.get(group.node, 0) + clipped[group.rows]


class LavaRunner(_IntegerRunner):
    """Runs integers in the real Lava, which is slow, and reads every layer back where they are shown."""

    name = "lava"

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest.

        Raises:
            BackendError: Lava is not installed, failed, died or fell silent.
        """
        answer = run_in_lava(
            self._integers,
            flat_events(values),
            probe=self._settings.layers or self._integers.graded,
            silence_s=self._settings.silence_s,
            advance=self._settings.advance,
        )
        return self._trace(answer.spikes, answer.layers)


def _shown(layer: IntegerLayer, trace: IntegerTrace, network: Network) -> dict[str, LayerTrace]:
    """The nodes of the graph that have neurons of their own in an integer layer."""
    charged = _before_reset(layer, trace.current.astype(np.int64), trace.potential.astype(np.int64))
    return {
        group.node: _node(group, layer, trace.spikes, charged, network)
        for group in layer.groups
        if group.role is Role.NEURON
    }


def _before_reset(
    layer: IntegerLayer, current: NDArray[np.int64], potential: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Potentials [T, N, neurons] before the reset, from u of the step and v after the step before."""
    before = np.concatenate([np.zeros_like(potential[:1]), potential[:-1]])
    kept = np.sign(before) * ((np.abs(before) * (DECAY_UNITY - layer.dv.astype(np.int64))) >> 12)
    bias = layer.bias.astype(np.int64) << layer.bias_exp
    charged: NDArray[np.int64] = np.clip(kept + current + bias, -(STATE_LIMIT - 1), STATE_LIMIT - 1)
    return charged


def _node(
    group: Group, layer: IntegerLayer, spikes: NDArray[Any], charged: NDArray[np.int64], network: Network
) -> LayerTrace:
    """One node in units of the graph; a memoryless neuron's bias is taken out of its threshold again."""
    node = network.node(group.node)
    shape = (*spikes.shape[:2], *node.output_shape)
    unit = np.asarray(group.scale) * 2.0**layer.weight_exp
    threshold = layer.vth[group.rows] / unit
    shift = np.zeros_like(threshold)
    numbers = coefficients(node, network)
    if numbers.memoryless and numbers.threshold is not None:
        shift = numbers.threshold.reshape(-1) - threshold
    potentials = charged[..., group.rows] / (unit * 2.0**FIXED_POINT_BITS) + shift
    return LayerTrace(
        spikes[..., group.rows].reshape(shape),
        _float32(potentials).reshape(shape),
        _float32(threshold + shift).reshape(node.output_shape),
    )


def _float32(values: NDArray[Any]) -> Float32:
    return values.astype(np.float32)
