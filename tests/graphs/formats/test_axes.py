"""Steps and samples swapped: found by what time leaves behind, and never in arrays that are right."""

import numpy as np
import pytest

from nsc_deploy.diagnostics import collected
from nsc_deploy.graphs.formats.axes import evidence_of_swapped_axes
from nsc_deploy.graphs.formats.recording import make_recording, recording_of_array
from nsc_deploy.graphs.network import Signal

STEPS, SAMPLES, CHANNELS = 30, 120, 40


def pictures(order: str) -> np.ndarray:
    """Brightness of ten classes of pictures with noise, [samples, channels]."""
    chance = np.random.default_rng(0)
    labels = np.arange(SAMPLES) % 10
    labels = {"one after another": labels, "sorted": np.sort(labels), "shuffled": chance.permutation(labels)}[
        order
    ]
    noise = 0.15 * chance.standard_normal((SAMPLES, CHANNELS))
    return np.clip(chance.random((10, CHANNELS))[labels] + noise, 0, 1)


def rates(order: str = "shuffled") -> np.ndarray:
    return (np.random.default_rng(1).random((STEPS, SAMPLES, CHANNELS)) < 0.7 * pictures(order)).astype(
        np.uint8
    )


def latencies(order: str = "shuffled") -> np.ndarray:
    """Each channel fires once, the brighter the sooner."""
    values = np.zeros((STEPS, SAMPLES, CHANNELS), np.uint8)
    times = ((1 - pictures(order)) * (STEPS - 1)).astype(int)
    samples, channels = np.indices(times.shape)
    values[times, samples, channels] = 1
    return values


def movement() -> np.ndarray:
    """Something drifts over a small picture."""
    chance = np.random.default_rng(2)
    values = np.zeros((STEPS, 20, 12, 12), np.float32)
    for sample in range(20):
        start, speed = chance.random(2) * 9, chance.standard_normal(2) * 0.4
        for step in range(STEPS):
            row, column = ((start + speed * step) % 9).astype(int)
            values[step, sample, row : row + 3, column : column + 3] = 1
    return values


def noise(steps: int = 25, samples: int = 60) -> np.ndarray:
    return (np.random.default_rng(3).random((steps, samples, 16)) < 0.2).astype(np.uint8)


RIGHT = {
    **{f"rates, {order}": rates(order) for order in ("one after another", "sorted", "shuffled")},
    **{f"latencies, {order}": latencies(order) for order in ("one after another", "sorted", "shuffled")},
    "movement": movement(),
    "constant": np.repeat(np.random.default_rng(4).random((1, 40, 20)), 16, axis=0),
    "noise": noise(),
    "few": noise(6, 3),
    "one step": rates()[:1],
    "silence": np.zeros((20, 20, 4), np.uint8),
}


@pytest.mark.parametrize("kind", RIGHT)
def test_nothing_is_said_of_arrays_that_are_right(kind: str) -> None:
    assert evidence_of_swapped_axes(RIGHT[kind]) == ""


@pytest.mark.parametrize(
    "kind", ["rates, shuffled", "rates, one after another", "latencies, sorted", "movement", "constant"]
)
def test_time_along_the_second_axis_is_seen(kind: str) -> None:
    assert "second axis" in evidence_of_swapped_axes(RIGHT[kind].swapaxes(0, 1))


def test_noise_tells_nothing_either_way() -> None:
    assert evidence_of_swapped_axes(noise().swapaxes(0, 1)) == ""


def test_the_doubt_says_how_it_was_read_and_what_to_say() -> None:
    swapped = rates().swapaxes(0, 1)
    with collected() as told:
        read = recording_of_array(swapped, signal=Signal.EVENTS, dt=1e-3, where="it.npy")
    (one,) = told
    assert (one.name, one.where) == ("swapped-axes", "it.npy")
    assert f"read as {SAMPLES} steps of {STEPS} samples, {CHANNELS} channels" in one.fault
    assert "--samples-first" in one.way_out
    assert "samples_first" in str(one)
    assert (read.steps, read.samples) == (SAMPLES, STEPS)
    with collected() as told:
        read = recording_of_array(swapped, signal=Signal.EVENTS, dt=1e-3, where="it.npy", samples_first=True)
    assert not told
    np.testing.assert_array_equal(read.values, rates())


def test_an_order_that_was_said_and_seems_wrong_is_to_be_left_out() -> None:
    with collected() as told:
        recording_of_array(rates(), signal=Signal.EVENTS, dt=1e-3, where="it.npy", samples_first=True)
    (one,) = told
    assert "leave --samples-first out" in one.way_out


def test_labels_that_fit_one_order_alone_end_the_doubt() -> None:
    swapped = rates().swapaxes(0, 1)
    with collected() as told:
        make_recording(swapped, Signal.EVENTS, 1e-3, np.arange(STEPS), where="it")
    assert not told


@pytest.mark.parametrize(
    ("signal", "scale", "said"),
    [
        (Signal.REAL, 1.0, True),
        (Signal.GRADED, 1.0, True),
        (Signal.REAL, 0.5, False),
        (Signal.GRADED, 2.0, False),
        (Signal.EVENTS, 1.0, False),
        (Signal.REAL, 0.0, False),
    ],
)
def test_zeros_and_ones_that_are_said_to_be_no_events_are_remarked_on(
    signal: Signal, scale: float, said: bool
) -> None:
    with collected() as told:
        make_recording(noise() * scale, signal, 1e-3, where="it.npy")
    assert [one.name for one in told] == ["only-zeros-and-ones"] * said
    assert all("--signal events" in one.way_out for one in told)
