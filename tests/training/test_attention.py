"""The picture of the gates: what they are for each receiver, and that it is of this run and this sample."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.data import load_events
from nsc_deploy.deployment import Side
from nsc_deploy.errors import ConfigError
from nsc_deploy.experiment_file import load_experiment
from nsc_deploy.training.attention import Attention, attention_of, write_attention
from nsc_deploy.training.run import RunResult, train

Make = Callable[..., dict[str, object]]


def trained(make: Make, run: Path, **changes: object) -> RunResult:
    return train(load_experiment(None, make(training__epochs=1, **changes)), run, progress=False)


@pytest.fixture(scope="module")
def event(small_experiment: Make, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    run = tmp_path_factory.mktemp("event") / "run"
    return trained(small_experiment, run, system__name="att-neurosc", system__receiver="event")


@pytest.fixture(scope="module")
def analog(small_experiment: Make, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    run = tmp_path_factory.mktemp("analog") / "run"
    return trained(small_experiment, run, system__name="att-neurosc", system__receiver="analog")


def sides(attention: Attention) -> list[Side]:
    return [one.side for one in attention.maps]


def test_the_gates_of_the_event_receiver_are_spikes(event: RunResult) -> None:
    attention = attention_of(event.run, 3)
    assert sides(attention) == [Side.TRANSMITTER, Side.RECEIVER]
    for one in attention.maps:
        assert one.sees_events
        assert one.gate_spikes
        assert one.gate.shape == one.signal.shape
        assert set(np.unique(one.gate)) <= {0.0, 1.0}


def test_the_gates_of_the_analog_receiver_are_factors_at_both_ends(analog: RunResult) -> None:
    """The transmitter's sees events all the same."""
    attention = attention_of(analog.run, 3)
    assert sides(attention) == [Side.TRANSMITTER, Side.RECEIVER]
    assert [one.sees_events for one in attention.maps] == [True, False]
    assert [one.gate_spikes for one in attention.maps] == [False, False]
    assert all(len(np.unique(one.gate)) > 2 for one in attention.maps)


def test_the_figures_are_those_of_the_picture(event: RunResult) -> None:
    attention = attention_of(event.run, 3)
    told = json.loads(json.dumps(attention.as_json(), allow_nan=False))
    assert (told["sample"], told["class"], told["dt"]) == (3, attention.class_name, attention.dt)
    for gate, drawn in zip(told["gates"], attention.maps, strict=True):
        assert (gate["steps"], gate["channels"]) == drawn.gate.shape
        assert gate["mean_of_each_step"] == pytest.approx(drawn.gate.mean(1).tolist())
        assert gate["mean"] == pytest.approx(float(drawn.gate.mean()))
        assert (gate["sees"], gate["gate"]) == ("events", "spikes")


def test_it_shows_the_sample_that_was_asked_for(event: RunResult) -> None:
    data = load_events(event.experiment.data)
    for sample in (0, len(data.test) - 1):
        attention = attention_of(event.run, sample)
        assert np.array_equal(attention.maps[0].signal, data.test.events[sample])
        assert attention.class_name == data.class_names[int(data.test.labels[sample])]


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_picture_is_written(analog: RunResult, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"attention{suffix}"
    write_attention(attention_of(analog.run, 0), path)
    assert path.read_bytes().startswith(b"\x89PNG" if suffix == ".png" else b"<?xml")


def test_what_cannot_be_shown_is_refused(event: RunResult, small_experiment: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="samples 0 to 99"):
        attention_of(event.run, 100)
    with pytest.raises(ConfigError, match="a picture cannot have the ending"):
        write_attention(attention_of(event.run, 0), tmp_path / "attention.docx")
    without = trained(small_experiment, tmp_path / "fc")
    with pytest.raises(ConfigError, match="fc has no attention"):
        attention_of(without.run, 0)
