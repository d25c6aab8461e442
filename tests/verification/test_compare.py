"""Comparing two runs: each figure against a hand-made case and against its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nsc_deploy.errors import BackendError, DataError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Network, Signal
from nsc_deploy.verification.compare import Comparison, LayerTally, _require_finite, compare_runs
from nsc_deploy.verification.runner import LayerTrace, RunTrace

SHAPE = (3, 2, 4)
runs = arrays(np.uint8, SHAPE, elements=st.integers(0, 1))


def one_spike(*places: tuple[int, int, int]) -> np.ndarray:
    spikes = np.zeros(SHAPE, np.uint8)
    for place in places:
        spikes[place] = 1
    return spikes


class Given:
    """A backend that fired as was given, and shows its outputs alone."""

    name = "given"

    def __init__(self, spikes: np.ndarray) -> None:
        self._spikes = spikes

    def run(self, _values: np.ndarray) -> RunTrace:
        return RunTrace(self._spikes)


def network_of(classes: int | None = None) -> Network:
    build = GraphBuilder(1e-3)
    build.input(1, Signal.EVENTS)
    build.linear("weights", np.ones((SHAPE[2], 1)))
    build.lif("neurons", 0.5, 0.5, SHAPE[2])
    build.output(SHAPE[2], classes=classes, group=None if classes is None else SHAPE[2] // classes)
    return assemble(build.build())


def compare(
    one: np.ndarray, two: np.ndarray, *, classes: int | None = None, labels: np.ndarray | None = None
) -> Comparison:
    entering = np.zeros((*SHAPE[:2], 1))
    return compare_runs(network_of(classes), Given(one), Given(two), entering, labels=labels)


def first_place(found: Comparison) -> tuple[int, int, int, bool, bool] | None:
    first = found.first_divergence
    return first and (first.sample, first.step, first.neuron, first.reference, first.other)


def test_equal_runs() -> None:
    spikes = one_spike((0, 0, 1), (2, 1, 3))
    found = compare(spikes, spikes, classes=2, labels=np.array([0, 1]))
    assert found.output.coincidence == found.output.rate_cosine == 1.0
    assert found.decisions is not None
    assert found.decisions.agreement == 1.0
    assert found.decisions.reference_accuracy == found.decisions.other_accuracy == 1.0
    assert found.first_divergence is None
    assert found.equal


def test_a_spike_one_step_late_keeps_the_rates_and_loses_the_coincidence() -> None:
    found = compare(one_spike((0, 0, 1), (0, 1, 0)), one_spike((1, 0, 1), (0, 1, 0)))
    assert found.output.rate_cosine == 1.0
    assert found.output.coincidence == pytest.approx(1 / 3)
    assert first_place(found) == (0, 0, 1, True, False)
    assert found.decisions is None


def test_silence_on_one_side_and_on_both() -> None:
    silent = np.zeros(SHAPE, np.uint8)
    both = compare(silent, silent).output
    assert both.rate_cosine == both.coincidence == 1.0
    found = compare(one_spike((2, 1, 0)), silent)
    assert found.output.rate_cosine == 0.0, "of the sample that fires; the other would hide it"
    assert found.output.coincidence == 0.0
    assert first_place(found) == (1, 2, 0, True, False)


def test_a_layer_that_is_silent_on_both_sides_has_no_coincidence() -> None:
    silent = np.zeros(SHAPE, np.uint8)
    tally = LayerTally(network_of(), "neurons")
    tally.add(LayerTrace(silent), LayerTrace(silent))
    assert (tally.parity().reference_spikes, tally.parity().coincidence) == (0, None)
    tally.add(LayerTrace(one_spike((0, 0, 1))), LayerTrace(silent))
    assert tally.parity().coincidence == 0.0


def test_decisions_against_labels() -> None:
    reference = one_spike((0, 0, 3), (0, 1, 0))
    other = one_spike((0, 0, 3), (0, 1, 2))
    decisions = compare(reference, other, classes=2, labels=np.array([1, 0])).decisions
    assert decisions is not None
    assert (decisions.reference_accuracy, decisions.other_accuracy, decisions.agreement) == (1.0, 0.5, 0.5)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(DataError, match="cannot be compared"):
        compare(np.zeros(SHAPE), np.zeros((3, 2, 5)))
    with pytest.raises(DataError, match="labels for 2 samples"):
        compare(np.zeros(SHAPE), np.zeros(SHAPE), labels=np.zeros(3, np.int64))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_no_figure_can_be_made_of(bad: float) -> None:
    outputs = np.zeros(SHAPE, np.float32)
    outputs[1, 1, 2] = bad
    with pytest.raises(BackendError, match="given gave NaN or infinity among its outputs"):
        compare(np.zeros(SHAPE, np.float32), outputs)
    layer = LayerTrace(None, outputs)
    with pytest.raises(BackendError, match="among its potentials of layer 'neurons'"):
        _require_finite("given", RunTrace(np.zeros(SHAPE), {"neurons": layer}))


@settings(max_examples=50, deadline=None)
@given(runs, runs)
def test_definitions(one: np.ndarray, two: np.ndarray) -> None:
    found = compare(one, two)
    both = sum(a and b for a, b in zip(one.flat, two.flat, strict=True))
    either = sum(a or b for a, b in zip(one.flat, two.flat, strict=True))
    assert found.output.coincidence == (both / either if either else 1.0)
    cosines = []
    for sample in range(SHAPE[1]):
        a, b = one[:, sample].sum(axis=0).astype(float), two[:, sample].sum(axis=0).astype(float)
        if not a.any() or not b.any():
            cosines += [0.0] if a.any() or b.any() else []
        else:
            cosines.append(a @ b / np.sqrt((a @ a) * (b @ b)))
    assert found.output.rate_cosine == pytest.approx(np.mean(cosines) if cosines else 1.0)
    assert (found.first_divergence is None) == bool((one == two).all())
    mirrored = compare(two, one).output
    assert mirrored.coincidence == found.output.coincidence
    assert mirrored.rate_cosine == pytest.approx(found.output.rate_cosine)


class Showing(Given):
    """Shows one of two layers too."""

    def __init__(self, output: np.ndarray, layer: np.ndarray) -> None:
        super().__init__(output)
        self._layer = layer

    def run(self, values: np.ndarray) -> RunTrace:
        trace = super().run(values)
        return RunTrace(trace.output, {"one": LayerTrace(self._layer)})


def test_outputs_part_where_no_layer_shown_does() -> None:
    """In sample 1 the layer parts in step 0, and in sample 0 the outputs alone."""
    build = GraphBuilder(1e-3)
    build.input(4, Signal.EVENTS)
    build.threshold("one", 0.5, 4)
    build.threshold("two", 0.5, 4)
    build.output(4)
    graph, values = assemble(build.build()), np.zeros(SHAPE, np.uint8)
    silent = Showing(one_spike(), one_spike())
    found = compare_runs(
        graph, silent, Showing(one_spike((2, 0, 3), (1, 1, 2)), one_spike((0, 1, 1))), values
    )
    assert found.diverging_samples == 2
    assert first_place(found) == (0, 2, 3, False, True)
    assert found.first_divergence is not None and found.first_divergence.layer == "output"
    assert found.first_course is None
    found = compare_runs(graph, silent, Showing(one_spike((0, 0, 3)), one_spike((0, 0, 1))), values)
    assert found.diverging_samples == 1
    assert found.first_divergence is not None and found.first_divergence.layer == "one"
    assert found.first_course is not None
