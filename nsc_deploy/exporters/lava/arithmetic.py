"""An integer network in Lava's fixed-point arithmetic, equal to lava-nc 0.10.0 in s, u and v.

    a[t] = (sum over the spikes s[t - delay] of weight) << weight_exp
    u[t] = sgn(u) * (|u| * (4096 - (du + 1)) >> 12) + (a[t] << 6)     wrapped once into 24 bits
    v[t] = clip(sgn(v) * (|v| * (4096 - dv) >> 12) + u[t] + bias)      to -(2^23 - 1) .. 2^23 - 1
    s[t] = v[t] > vth << 6, and v[t] = 0 where s[t]; in our SubtractiveLIF v[t] - (vth << 6)

`u` and `v` on the right are those of the step before; `bias` is `bias_mant << bias_exp`. Time is that of
the graph: the step a connection between layers takes in Lava is left out, since it only shifts every layer
as a whole. A spike on a recurrent connection adds to `a` one step later, as in the graph.

The emulator computes it (see `nsc_deploy.exporters.lava.emulator`); here integer layers become its processes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.lava.emulator import simulate as emulator
from nsc_deploy.exporters.lava.emulator.connections import DelaySparse, Dense, SignMode, Sparse
from nsc_deploy.exporters.lava.emulator.network import LIF, Layer, Network, SubtractiveLIF
from nsc_deploy.exporters.lava.emulator.simulate import LayerTrace
from nsc_deploy.exporters.lava.integers import IntegerLayer, IntegerNetwork, kept_sparse
from nsc_deploy.exporters.lava.lowering.synapses import Matrix

__all__ = ["LayerTrace", "at_graph_steps", "output_spikes", "processes", "run_layer", "run_network"]


def run_network(network: IntegerNetwork, events: NDArray[np.uint8]) -> tuple[LayerTrace, ...]:
    """Run a batch from rest and return what every layer did, every row at the steps of the graph.

    Args:
        network: valid (see `integer.validate`).
        events: [steps, samples, inputs] of 0 and 1.
    """
    traces = emulator.simulate(processes(network), _prolonged(events, network.late), lag=0)
    return tuple(
        LayerTrace(
            *(
                at_graph_steps(layer, values, len(events))
                for values in (trace.spikes, trace.current, trace.potential)
            )
        )
        for layer, trace in zip(network.layers, traces, strict=True)
    )


def output_spikes(network: IntegerNetwork, events: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The spikes of the last layer, [steps, samples, outputs], without keeping the rest."""
    late = network.layers[-1].late
    spikes = emulator.output_spikes(processes(network), _prolonged(events, late), lag=0)
    return spikes[late:]


def at_graph_steps(layer: IntegerLayer, values: NDArray[Any], steps: int) -> NDArray[Any]:
    """Values [steps of the layer, samples, rows] at the steps of the graph: late rows are moved forward."""
    if not layer.late:
        return values[:steps]
    moved = np.empty((steps, *values.shape[1:]), values.dtype)
    for group in layer.groups:
        moved[..., group.rows] = values[group.late : group.late + steps, :, group.rows]
    return moved


def _prolonged(events: NDArray[np.uint8], steps: int) -> NDArray[np.uint8]:
    """The events and silence behind them."""
    return np.pad(events, ((0, steps), (0, 0), (0, 0))) if steps else events


def run_layer(layer: IntegerLayer, events: NDArray[np.uint8]) -> LayerTrace:
    """Run one layer from rest on [steps, samples, inputs] events."""
    return emulator.simulate(Network((_layer(layer),)), events, lag=0)[0]


def processes(network: IntegerNetwork) -> Network:
    """The processes of a network, to run many batches with `emulator.simulate` (with a lag of 0)."""
    return Network(tuple(_layer(layer) for layer in network.layers))


def _layer(layer: IntegerLayer) -> Layer:
    recurrent = None if layer.recurrent is None else _connection(layer, layer.recurrent)
    return Layer(_connection(layer, layer.weight), _neurons(layer), recurrent)


def _connection(layer: IntegerLayer, weight: Matrix) -> Dense:
    """As the worker builds it: DelaySparse where a row is delayed, else Dense or Sparse; of mixed sign."""
    if layer.delay[weight.target].any():
        return DelaySparse(
            weight, weight_exp=layer.weight_exp, sign_mode=SignMode.MIXED, delays=layer.delay[:, None]
        )
    if kept_sparse(weight):
        return Sparse(weight, weight_exp=layer.weight_exp, sign_mode=SignMode.MIXED)
    return Dense(weight.dense(), weight_exp=layer.weight_exp, sign_mode=SignMode.MIXED)


def _neurons(layer: IntegerLayer) -> LIF:
    kind = SubtractiveLIF if layer.subtracts else LIF
    return kind(
        layer.neurons,
        du=layer.du,
        dv=layer.dv,
        vth=layer.vth,
        bias_mant=layer.bias,
        bias_exp=layer.bias_exp,
    )
