"""Each kind of neuron that a module may hold: its counts follow from what it gave out itself."""

from collections.abc import Callable
from typing import Any

import norse.torch as norse
import numpy as np
import pytest
import snntorch as snn
import torch
from numpy.typing import NDArray
from torch import nn

from nsc_deploy.errors import GraphError
from nsc_deploy.hooks import count_module

STEPS, SAMPLES, INTO, HIDDEN, OUT = 8, 4, 6, 5, 3


def spikingjelly(kind: str) -> nn.Module:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    made: nn.Module = getattr(neuron, kind)()
    return made


KINDS: dict[str, tuple[Callable[[], nn.Module], str, int]] = {
    "snntorch Leaky": (lambda: snn.Leaky(beta=0.75, threshold=0.25), "LIF", 1),
    "snntorch Lapicque": (lambda: snn.Lapicque(beta=0.75, threshold=0.25), "LIF", 1),
    "snntorch Synaptic": (lambda: snn.Synaptic(alpha=0.5, beta=0.75, threshold=0.25), "CubaLIF", 2),
    "norse LIFBoxCell": (lambda: norse.LIFBoxCell(dt=0.01), "LIF", 1),
    "norse LIFCell": (lambda: norse.LIFCell(dt=0.01), "CubaLIF", 2),
    "norse LIF": (lambda: norse.LIF(dt=0.01), "CubaLIF", 2),
    "norse IAFCell": (norse.IAFCell, "IF", 1),
    "norse LIBoxCell": (lambda: norse.LIBoxCell(dt=0.01), "LI", 1),
    "spikingjelly LIFNode": (lambda: spikingjelly("LIFNode"), "LIF", 1),
    "spikingjelly ParametricLIFNode": (lambda: spikingjelly("ParametricLIFNode"), "LIF", 1),
    "spikingjelly IFNode": (lambda: spikingjelly("IFNode"), "IF", 1),
}


def run(net: nn.Sequential, inputs: torch.Tensor) -> None:
    """A step at a time, in the way of each framework."""
    fc1, neuron, fc2 = net
    if isinstance(neuron, norse.LIF):
        fc2(neuron(fc1(inputs))[0])
        return
    state: Any = None
    if isinstance(neuron, snn.SpikingNeuron):
        state = neuron.reset_mem()
        state = state if isinstance(state, tuple) else (state,)
    elif hasattr(neuron, "reset"):
        neuron.reset()
    for step in inputs:
        current = fc1(step)
        if isinstance(neuron, snn.SpikingNeuron):
            spikes, *state = neuron(current, *state)
        elif hasattr(neuron, "reset"):
            spikes = neuron(current)
        else:
            spikes, state = neuron(current, state)
        fc2(spikes)


def outputs(net: nn.Sequential, values: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the neurons give out, [T, N, HIDDEN]."""
    found: list[torch.Tensor] = []
    hook = net[1].register_forward_hook(
        lambda module, given, out: found.append(out[0] if isinstance(out, tuple) else out)
    )
    with torch.no_grad():
        run(net, torch.from_numpy(values.astype(np.float32)))
    hook.remove()
    return torch.cat([one if one.ndim == 3 else one[None] for one in found]).numpy()


@pytest.mark.peers
@pytest.mark.parametrize("kind", KINDS)
def test_counts_follow_from_what_the_neurons_give_out(kind: str) -> None:
    make, primitive, states = KINDS[kind]
    torch.manual_seed(0)
    neuron = make()
    net = nn.Sequential(nn.Linear(INTO, HIDDEN), neuron, nn.Linear(HIDDEN, OUT)).eval()
    with torch.no_grad():
        net[0].weight.mul_(8)
    values = (np.random.default_rng(0).random((STEPS, SAMPLES, INTO)) < 0.5).astype(np.uint8)
    given = outputs(net, values)
    layers = {
        layer.name: layer
        for layer in count_module(net, values, dt=0.01, signal="events", run=run).part.layers
    }
    first, middle, last = layers["0"], layers["1"], layers["2"]
    assert middle.primitive == primitive
    assert first.per_sample.acs.tolist() == (HIDDEN * values.sum(axis=(0, 2))).tolist()
    assert middle.per_sample.neuron_updates.tolist() == [STEPS * HIDDEN] * SAMPLES
    assert middle.traffic.state_reads.tolist() == [states * STEPS * HIDDEN] * SAMPLES
    if primitive == "LI":
        assert not middle.per_sample.spikes.any()
        assert last.per_sample.macs.tolist() == [STEPS * HIDDEN * OUT] * SAMPLES
        return
    assert given.any()
    assert middle.per_sample.spikes.tolist() == given.sum(axis=(0, 2)).tolist()
    assert last.per_sample.acs.tolist() == (OUT * given.sum(axis=(0, 2))).tolist()
    assert last.per_step is not None
    assert last.per_step.acs.tolist() == (OUT * given.sum(axis=(1, 2))).tolist()


def test_a_neuron_that_takes_one_step_is_refused_where_it_ran_once_for_all() -> None:
    inputs = (np.random.default_rng(1).random((STEPS, SAMPLES, INTO)) < 0.4).astype(np.uint8)
    neuron = snn.Leaky(beta=0.75, threshold=0.25, init_hidden=True)
    net = nn.Sequential(nn.Linear(INTO, HIDDEN), neuron).eval()

    def stepwise(module: nn.Module, x: torch.Tensor) -> None:
        neuron.reset_mem()
        for step in x:
            module(step)

    with pytest.raises(GraphError, match=r"took them for samples(.|\n)*run=lambda net, x"):
        count_module(net, inputs, dt=0.01, signal="events")
    assert count_module(net, inputs, dt=0.01, signal="events", run=stepwise).part.steps == STEPS
    # A single step has no other axis to be taken for.
    assert count_module(net, inputs[:1], dt=0.01, signal="events", run=stepwise).part.steps == 1


def test_a_neuron_that_takes_all_steps_is_refused_where_it_ran_once_a_step() -> None:
    inputs = (np.random.default_rng(1).random((STEPS, SAMPLES, INTO)) < 0.4).astype(np.uint8)

    class Each(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.neuron = nn.Linear(INTO, HIDDEN), norse.LIF(dt=0.01)

        def forward(self, x: torch.Tensor) -> None:
            for step in x:
                self.neuron(self.fc(step))

    with pytest.raises(GraphError, match="took samples for steps"):
        count_module(Each().eval(), inputs, dt=0.01, signal="events")
