"""Where a neuron's inhibition of itself leaves its weights room, and where an experiment is refused."""

import re

import pytest
import torch

from nsc_deploy.config.first_spikes import STRONGEST, inhibition
from nsc_deploy.errors import ConfigError
from nsc_deploy.experiment_file import load_experiment
from nsc_deploy.models.spiking import DenseLayers, NeuronForm


def first_spikes(decay_steps: float, steps: int) -> dict[str, object]:
    return {
        "system.coding": "ttfs",
        "system.gate_hidden": 0,
        "system.decay_steps": decay_steps,
        "data.encoding.steps": steps,
    }


@pytest.mark.parametrize(("decay_steps", "steps"), [(10.0, 100), (2.0, 15), (1.1, 400), (1.0000001, 1000)])
def test_an_inhibition_that_drowns_the_weights_is_refused_with_what_fits(
    decay_steps: float, steps: int
) -> None:
    with pytest.raises(ConfigError, match="rounds its weights away") as caught:
        load_experiment(None, first_spikes(decay_steps, steps))
    found = re.search(r"at most (\d+) steps, or a decay_steps of ([\d.]+) or more", str(caught.value))
    assert found is not None
    most, slow = int(found[1]), float(found[2])
    load_experiment(None, first_spikes(decay_steps, most))
    load_experiment(None, first_spikes(slow, steps))
    for other in (first_spikes(decay_steps, most + 1), first_spikes(slow - 0.2, steps)):
        with pytest.raises(ConfigError, match="rounds its weights away"):
            load_experiment(None, other)


def test_samples_too_long_for_every_decay_are_refused() -> None:
    fields = {"data.dataset": "shd", "data.binning.steps": 2000, "system.decay_steps": 1e6}
    with pytest.raises(ConfigError, match=r"choose at most 1024 steps$"):
        load_experiment(None, {"system.coding": "ttfs", "system.gate_hidden": 0, **fields})


def test_neurons_that_fire_as_often_as_they_may_inhibit_nothing() -> None:
    load_experiment(None, {"system.decay_steps": 1.1, "data.encoding.steps": 400})


@pytest.mark.parametrize(("decay_steps", "steps"), [(10.0, 46), (2.0, 11), (100.0, 180)])
def test_what_is_taken_keeps_its_weights(decay_steps: float, steps: int) -> None:
    torch.manual_seed(0)
    assert inhibition(1 - 1 / decay_steps, steps) <= STRONGEST
    body = DenseLayers((256, 128, 128), NeuronForm(decay_steps, 0.3, "snntorch", once_in=steps))
    before = [layer.weight.detach().clone() for layer, _ in body.layers()]
    body.snap()
    for (layer, _), weight in zip(body.layers(), before, strict=True):
        assert (layer.weight - weight).norm() < 0.02 * weight.norm()
