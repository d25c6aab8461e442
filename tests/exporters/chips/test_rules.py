"""Every rule: one graph that just fits, one that just does not, and the change that is named mends it."""

from collections.abc import Callable

import nir
import numpy as np
import pytest

from nsc_deploy.exporters.base import CheckResult
from nsc_deploy.exporters.chips.chip import Chip, LayerCores, bundled_chip
from nsc_deploy.exporters.chips.fit import fit
from nsc_deploy.exporters.chips.widths import largest_ratio
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Network, Reset, Signal
from tests.support.chips import chain, convolution, loop, small_chip

Graph = Callable[[int], Network]


def pruned(inputs: int, kept: int) -> Network:
    weight = np.ones((1, inputs))
    weight[0, kept:] = 0
    return chain(inputs, 1, weights=[weight])


def delayed(steps: int) -> Network:
    """One layer behind a delay; the connection itself takes one of its steps."""
    build = GraphBuilder(0.001)
    build.input(1, Signal.EVENTS)
    build.delay("late", steps, 1)
    build.linear("w", [[1.0]])
    build.lif("n", 0.5, 1.0, 1)
    build.output(1)
    return assemble(build.build())


def xylo(
    inputs: int = 3,
    hidden: int = 4,
    outputs: int = 2,
    recurrent: np.ndarray | None = None,
    tau: float = 0.016,
    reset: Reset = Reset.SUBTRACT,
) -> Network:
    """Input, hidden CubaLIF neurons, output CubaLIF neurons."""

    def neurons(size: int) -> nir.CubaLIF:
        ones = np.ones(size)
        return nir.CubaLIF(tau * ones, tau * ones, ones, 0 * ones, ones, v_reset=0 * ones, w_in=ones)

    build = GraphBuilder(0.001, reset)
    build.input(inputs, Signal.EVENTS)
    build.linear("w_in", np.ones((hidden, inputs)))
    build.add("hidden", neurons(hidden))
    if recurrent is not None:
        build.connect(build.linear("w_rec", recurrent), "hidden")
    build.linear("w_out", np.ones((outputs, hidden)), after="hidden")
    build.add("readout", neurons(outputs))
    build.output(outputs)
    return assemble(build.build())


def reaching(targets: int, size: int = 100) -> Network:
    """One hidden neuron that reaches so many hidden neurons."""
    weight = np.zeros((size, size))
    weight[:targets, 0] = 1
    return xylo(hidden=size, recurrent=weight)


def spread(synapses: int) -> Network:
    """So many synapses between 1000 hidden neurons, at most 33 from each."""
    weight = np.zeros((1000, 1000))
    weight.T[:, :33].reshape(-1)[...] = 0
    lines, targets = np.divmod(np.arange(synapses), 33)
    weight[targets, lines] = 1
    return xylo(hidden=1000, recurrent=weight)


def branches(count: int) -> Network:
    """An input that feeds so many layers, which join in one."""
    build = GraphBuilder(0.001)
    build.input((1, 4, 4), Signal.EVENTS)
    kernel = np.ones((1, 1, 1, 1), np.float32)
    names = []
    for index in range(count):
        build.add(f"c{index}", nir.Conv2d((4, 4), kernel, 1, 0, 1, 1, np.zeros(1)), after="input")
        names.append(build.integrate_and_fire(f"n{index}", 1.0, (1, 4, 4)))
    build.add("join", nir.Conv2d((4, 4), kernel, 1, 0, 1, 1, np.zeros(1)), after=names)
    build.integrate_and_fire("last", 1.0, (1, 4, 4))
    build.output((1, 4, 4))
    return assemble(build.build())


def deep(layers: int) -> Network:
    build = GraphBuilder(0.001)
    build.input((1, 4, 4), Signal.EVENTS)
    for index in range(layers):
        build.add(f"c{index}", nir.Conv2d((4, 4), np.ones((1, 1, 1, 1)), 1, 0, 1, 1, np.zeros(1)))
        build.integrate_and_fire(f"n{index}", 1.0, (1, 4, 4))
    build.output((1, 4, 4))
    return assemble(build.build())


def dense_image(height: int, width: int) -> Network:
    build = GraphBuilder(0.001)
    build.input((1, height, width), Signal.EVENTS)
    build.add("flat", nir.Flatten({"input": np.array([1, height, width])}, 0, -1))
    build.linear("w", np.ones((2, height * width)))
    build.integrate_and_fire("n", 1.0, 2)
    build.output(2)
    return assemble(build.build())


XYLO, SPECK = bundled_chip("xylo-audio2"), bundled_chip("speck")

# rule: (chip, graph by size, the size that just fits, the size that just does not, what the hint names)
LIMITS: dict[str, tuple[Chip, Graph, int, int, str]] = {
    "cores of the chip": (
        small_chip(neurons_per_core=4, cores=3),
        lambda n: chain(1, n),
        12,
        13,
        "(13 to 12), or use 2 chips",
    ),
    "fan-in of a neuron": (small_chip(axons_in=4), lambda n: pruned(9, n), 4, 5, "prune 1 of the 5"),
    "memory of a neuron": (small_chip(memory=32), lambda n: pruned(9, n), 4, 5, "Prune 1 of the 5"),
    "fan-out axons": (
        small_chip(neurons_per_core=1, axons_out=2),
        lambda n: chain(1, 1, n),
        2,
        3,
        "Take 1 of these edges",
    ),
    "neurons of the chip": (small_chip(neurons_per_chip=5), lambda n: chain(1, n), 5, 6, "from 6 to 5"),
    "synapses of the chip": (
        small_chip(synapses_per_chip=6),
        lambda n: chain(2, n),
        3,
        4,
        "Prune 2 synapses",
    ),
    "delay": (small_chip(delay=3), delayed, 4, 5, "Shorten the Delay by 1 step."),
    "input channels": (XYLO, lambda n: xylo(inputs=n), 16, 17, "Send 1 input lines fewer"),
    "hidden neurons": (XYLO, lambda n: xylo(hidden=n), 1000, 1001, "from 1,001 to 1,000"),
    "output neurons": (XYLO, lambda n: xylo(outputs=n), 8, 9, "from 9 to 8"),
    "fan-out": (XYLO, reaching, 64, 65, "synapses of 1 hidden neurons until each reaches 64"),
    "hidden synapses": (XYLO, spread, 32000, 32001, "Prune 1 synapses"),
    "destinations": (SPECK, branches, 2, 3, "Take 1 of these connections away"),
    "kernel size": (SPECK, lambda n: convolution(size=(20, 20), kernel=(n, n)), 16, 17, "16 wide"),
    "channels": (
        SPECK,
        lambda n: convolution(outputs=n, size=(1, 1), kernel=(1, 1)),
        1024,
        1025,
        "1,024 output channels",
    ),
    "input size": (
        SPECK,
        lambda n: convolution(size=(n, n), kernel=(1, 1), stride=4),
        128,
        129,
        "128 wide",
    ),
    "output size": (SPECK, lambda n: convolution(size=(n, n), kernel=(1, 1)), 64, 65, "map 64 wide"),
    "stride": (SPECK, lambda n: convolution(stride=n), 2, 3, "stride of 2"),
    "padding": (SPECK, lambda n: convolution(padding=n, size=(8, 8)), 7, 8, "padding of 7"),
    "dilation": (SPECK, lambda n: convolution(dilation=n), 1, 2, "dilation of 1"),
    "pooling": (SPECK, lambda n: convolution(size=(12, 12), pool=n), 2, 3, "windows of 2"),
    "pooling padding": (SPECK, lambda n: convolution(size=(12, 12), pool=2, pool_padding=n), 0, 1, "of 0"),
    "square kernel": (SPECK, lambda n: dense_image(3, n), 3, 4, "zeros to 4 x 4"),
    "memory of a core": (
        SPECK,
        lambda n: convolution(64, n, padding=1),
        64,
        65,
        "Make its 65 output channels 64",
    ),
}


@pytest.mark.parametrize("rule", LIMITS)
def test_a_graph_at_the_limit_fits_and_one_over_it_does_not(rule: str) -> None:
    chip, graph, fitting, breaking, named = LIMITS[rule]
    assert fit(graph(fitting), chip).breaches == ()
    assert fit(graph(fitting), chip).fits
    found = {breach.rule: breach for breach in fit(graph(breaking), chip).breaches}
    assert named in found[rule].hint
    assert found[rule].problem


def test_layers_and_cores_are_one_to_one_on_speck() -> None:
    assert fit(deep(9), SPECK).fits
    (breach,) = fit(deep(10), SPECK).breaches
    assert breach.rule == "cores of the chip"
    assert breach.hint == "Leave out 1 layer."


def test_layers_find_the_one_arrangement_of_cores_that_takes_them_all() -> None:
    """Two large kernels fill the only two large cores, whatever came before them."""
    build = GraphBuilder(0.001)
    build.input((64, 2, 2), Signal.EVENTS)
    for index in range(2):
        build.add(f"c{index}", nir.Conv2d((2, 2), np.ones((64, 64, 3, 3)), 1, 1, 1, 1, np.zeros(64)))
        build.integrate_and_fire(f"n{index}", 1.0, (64, 2, 2))
    build.add("small", nir.Conv2d((2, 2), np.ones((1, 64, 1, 1)), 1, 0, 1, 1, np.zeros(1)))
    build.integrate_and_fire("last", 1.0, (1, 2, 2))
    build.output((1, 2, 2))
    answer = fit(assemble(build.build()), SPECK)
    assert answer.fits
    assert answer.placement is not None
    homes = {core.shares[0].population: core.index for core in answer.placement.cores}
    assert {homes["n0"], homes["n1"]} == {5, 6}


def with_threshold(threshold: float) -> Network:
    build = GraphBuilder(0.001)
    build.input(1, Signal.EVENTS)
    build.linear("w", [[1.0]])
    build.integrate_and_fire("n", threshold, 1)
    build.output(1)
    return assemble(build.build())


def test_potentials_hold_threshold_and_weights() -> None:
    chip = small_chip(state_bits=16)
    most = largest_ratio(16, 8, 6)
    assert fit(with_threshold(0.999 * most), chip).fits
    (breach,) = fit(with_threshold(1.001 * most), chip).breaches
    assert (breach.rule, breach.used, breach.limit) == ("state bits", 17, 16)
    assert f"at most {most:.4g} times" in breach.hint
    assert "--bits 7" in breach.hint
    assert fit(with_threshold(1.001 * most), chip, 7).fits


def test_weights_have_no_more_bits_than_a_synapse() -> None:
    chip = bundled_chip("loihi1")
    assert fit(chain(1, 1), chip, 9).fits
    (breach,) = fit(chain(1, 1), chip, 10).breaches
    assert breach.hint == "Use --bits 9."


def refusals(answer: CheckResult) -> dict[str, str]:
    return {one.node: one.reason for one in answer.refused}


def test_resets_are_those_of_the_chip() -> None:
    loihi = bundled_chip("loihi1")
    assert "'subtract'" in refusals(fit(chain(1, 1, reset=Reset.SUBTRACT), loihi))["n0"]
    assert "'zero'" in refusals(fit(xylo(reset=Reset.ZERO), XYLO))["hidden"]
    assert fit(xylo(reset=Reset.SUBTRACT), XYLO).fits


def test_decays_are_those_of_the_chip() -> None:
    build = GraphBuilder(0.001)
    build.input(1, Signal.EVENTS)
    build.linear("w", [[1.0]])
    build.lif("n", 1 - 1e-5, 1.0, 1)
    build.output(1)
    assert "decays by less than 1/8192" in refusals(fit(assemble(build.build()), bundled_chip("loihi1")))["n"]
    assert "no longer than a step" in refusals(fit(xylo(tau=0.001), XYLO))["hidden"]
    assert "rounds to a single step" in refusals(fit(xylo(tau=0.0014), XYLO))["hidden"]
    assert fit(xylo(tau=0.00142), XYLO).fits
    verdicts = {one.node: one.reason for one in fit(xylo(tau=0.02), XYLO).verdicts}
    assert "tau_mem changes by up to 20.0 %" in verdicts["hidden"]
    assert "changes" not in {one.node: one.reason for one in fit(xylo(tau=0.016), XYLO).verdicts}["hidden"]


def test_xylo_has_hidden_neurons_between_input_and_output() -> None:
    build = GraphBuilder(0.001, Reset.SUBTRACT)
    build.input(1, Signal.EVENTS)
    build.linear("w", [[1.0]])
    ones = np.full(1, 0.016)
    build.add("n", nir.CubaLIF(ones, ones, ones, 0 * ones, ones, v_reset=0 * ones, w_in=ones))
    build.output(1)
    problems = [one.problem for one in fit(assemble(build.build()), XYLO).breaches]
    assert any("no hidden neurons" in one for one in problems)
    assert any("reaches hidden neurons alone" in one for one in problems)


def test_a_cycle_that_is_too_short_is_refused_with_the_missing_delay() -> None:
    answer = fit(loop(0), bundled_chip("loihi1"))
    assert any("1 step more" in reason for reason in refusals(answer).values())
    assert any(one.startswith("not placed") for one in answer.notes)
    assert fit(loop(2), bundled_chip("loihi1")).fits
    assert set(refusals(fit(loop(2), SPECK))) >= {"a", "b", "late"}


@pytest.mark.parametrize("bias", [0.0, 0.5])
def test_a_bias_that_a_back_edge_carries_is_refused(bias: float) -> None:
    build = GraphBuilder(0.001)
    build.input(2, Signal.EVENTS)
    build.linear("w", np.ones((2, 2)))
    build.lif("n", 0.9, 1.0, 2)
    build.connect(build.affine("back", np.ones((2, 2)), np.full(2, bias)), "n")
    build.output(2, after="n")
    network = assemble(build.build())
    assert ("back", "n") in network.back_edges
    found = refusals(fit(network, bundled_chip("loihi1")))
    assert ("back" in found) == bool(bias)
    assert "one step late" in found.get("back", "one step late")


def test_sequences_have_no_kernel_on_cores_of_a_layer_each() -> None:
    """A chip file may list Conv1d; what it takes there nobody says."""
    chip = SPECK.model_copy(update={"nodes": SPECK.nodes | {"Conv1d": SPECK.nodes["Conv2d"]}})
    build = GraphBuilder(0.001)
    build.input((2, 9), Signal.EVENTS)
    build.add("conv", nir.Conv1d(9, np.ones((3, 2, 3), np.float32), 1, 0, 1, 1, np.zeros(3, np.float32)))
    build.integrate_and_fire("n", 1.0, (3, 7))
    build.output((3, 7))
    assert "goes over a sequence" in refusals(fit(assemble(build.build()), chip))["conv"]


def test_joins_of_different_weights_are_refused_on_speck() -> None:
    build = GraphBuilder(0.001)
    build.input((1, 4, 4), Signal.EVENTS)
    names = [
        build.add(
            f"c{one}", nir.Conv2d((4, 4), np.ones((1, 1, 1, 1)), 1, 0, 1, 1, np.zeros(1)), after="input"
        )
        for one in range(2)
    ]
    build.integrate_and_fire("n", 1.0, (1, 4, 4), after=names)
    build.output((1, 4, 4))
    assert "one kernel" in refusals(fit(assemble(build.build()), SPECK))["n"]


def in_a_row(*weights: np.ndarray, bias: float = 0.0) -> Network:
    """Matrices without neurons between them; the first has a bias."""
    build = GraphBuilder(0.001)
    build.input(weights[0].shape[1], Signal.EVENTS)
    build.affine("first", weights[0], np.full(len(weights[0]), bias))
    for index, weight in enumerate(weights[1:]):
        build.linear(f"w{index}", weight)
    build.integrate_and_fire("n", 1.0, len(weights[-1]))
    build.output(len(weights[-1]))
    return assemble(build.build())


def test_matrices_in_a_row_take_the_entries_of_their_product() -> None:
    first, second = np.ones((4, 400)), np.ones((256, 4))
    pools = {}
    for graph in (in_a_row(first, second, bias=1.0), in_a_row(second @ first, bias=1.0)):
        answer = fit(graph, SPECK)
        (breach,) = answer.breaches
        assert (breach.rule, breach.used) == ("memory of a core", 102_400)
        pools = pools or {one.pool: one.used for one in answer.pools}
        assert pools == {one.pool: one.used for one in answer.pools}
    small = fit(in_a_row(np.ones((4, 40)), np.ones((8, 4)), bias=1.0), SPECK)
    assert small.placement is not None
    (core,) = small.placement.cores
    assert {one.pool: one.used for one in core.pools} == {
        "kernel entries": 320,
        "neuron entries": 8,
        "biases": 8,
    }


def test_no_kernel_holds_a_scale_that_differs_from_place_to_place() -> None:
    places = np.linspace(0.5, 2, 64).reshape(1, 8, 8)
    answer = fit(convolution(channels=2, scale=places), SPECK)
    assert "differs from place to place" in refusals(answer)["scale"]
    assert not answer.fits
    assert fit(convolution(channels=2, scale=np.array([0.5, 2]).reshape(2, 1, 1)), SPECK).fits
    # Cores that hold any synapses take it, each with a weight of its own.
    assert fit(convolution(channels=2, scale=places), bundled_chip("loihi1")).fits


def test_branches_that_join_before_the_last_of_their_matrices_are_refused_on_speck() -> None:
    build = GraphBuilder(0.001)
    build.input(4, Signal.EVENTS)
    names = [build.linear(f"w{one}", np.ones((3, 4)), after="input") for one in range(2)]
    build.linear("both", np.ones((2, 3)), after=names)
    build.integrate_and_fire("n", 1.0, 2)
    build.output(2)
    told = refusals(fit(assemble(build.build()), SPECK))["n"]
    assert "several weights before it ('w0' and 'both', 'w1' and 'both')" in told


def test_disputed_limits_are_told_when_they_count() -> None:
    chip = bundled_chip("loihi1")
    assert not any("is over the 8" in one for one in fit(delayed(9), chip).notes)
    answer = fit(delayed(10), chip)
    assert answer.fits
    assert any("delay steps: 9 is over the 8" in one for one in answer.notes)


def test_what_is_not_published_is_said() -> None:
    notes = fit(chain(1, 1), bundled_chip("loihi2")).notes
    assert any("layout.axons_in: not published" in one for one in notes)


def gained(weights: list[float], gains: list[float], by: str) -> Network:
    """Two neurons with one line each, scaled by a Scale or by what they take in."""
    build = GraphBuilder(0.001)
    build.input(2, Signal.EVENTS)
    build.linear("w", np.diag(weights))
    if by == "scale":
        build.add("s", nir.Scale(np.array(gains, np.float32)))
    ones = np.ones(2)
    build.add("n", nir.IF(1000 * (ones if by == "scale" else np.array(gains)), 2000 * ones, 0 * ones))
    build.output(2)
    return assemble(build.build())


@pytest.mark.parametrize("by", ["scale", "r"])
def test_the_largest_weight_is_the_largest_product(by: str) -> None:
    plain, crossed = (
        fit(gained(*each, by), bundled_chip("loihi1"))
        for each in (([1, 1], [1, 1]), ([1000, 0.001], [0.001, 1000]))
    )
    assert {"state bits"} == {one.rule for one in plain.breaches} == {one.rule for one in crossed.breaches}
    assert [one.used for one in plain.breaches] == [one.used for one in crossed.breaches] == [25]


def leaving(delay: int, populations: int) -> Network:
    build = GraphBuilder(0.001)
    build.input(2, Signal.EVENTS)
    build.linear("w", np.eye(2))
    names = [f"n{index}" for index in range(populations)]
    for name in names:
        build.integrate_and_fire(name, 1.0, 2, after="w")
    build.delay("d", delay, 2, after=names[0])
    build.output(2, after=["d", *names[1:]])
    return assemble(build.build())


@pytest.mark.parametrize("name", ["loihi1", "loihi2"])
def test_no_synapse_lies_between_the_last_neurons_and_the_host(name: str) -> None:
    chip = bundled_chip(name)
    assert fit(leaving(0, 1), chip).fits
    assert set(refusals(fit(leaving(100, 1), chip))) == {"d"}
    assert set(refusals(fit(leaving(0, 2), chip))) == {"output"}


def test_a_chip_without_delays_has_none_for_shorter_paths_either() -> None:
    chip = small_chip(delay=0)
    nodes = {name: one for name, one in chip.nodes.items() if name != "Delay"}
    refused = SPECK.refused["Delay"]
    silent = chip.model_copy(update={"nodes": nodes, "refused": {**chip.refused, "Delay": refused}})
    build = GraphBuilder(0.001)
    build.input(1, Signal.EVENTS)
    build.linear("w", [[1.0]])
    build.integrate_and_fire("n", 1.0, 1)
    build.linear("v", [[1.0]])
    build.linear("skip", [[1.0]], after="input")
    build.integrate_and_fire("m", 1.0, 1, after=["v", "skip"])
    build.output(1)
    for one in (chip, silent):
        (breach,) = fit(assemble(build.build()), one).breaches
        assert (breach.rule, breach.used, breach.limit) == ("delay", 1, 0)
    assert fit(delayed(1), silent).breaches == ()
    assert len(refusals(fit(delayed(1), silent))) == 1


def test_neurons_that_do_not_decay_have_no_time_constant() -> None:
    chip = bundled_chip("loihi1")
    decay = SPECK.neurons.decay
    without = chip.model_copy(update={"neurons": chip.neurons.model_copy(update={"decay": decay})})
    assert "do not decay" in refusals(fit(chain(1, 1), without))["n0"]
    assert fit(with_threshold(1.0), without).fits


def test_a_layer_without_a_core_is_held_against_those_that_are_left() -> None:
    build = GraphBuilder(0.001)
    build.input((128, 8, 8), Signal.EVENTS)
    channels = 128
    for index in range(4):
        for name, outputs in ((f"wide{index}", 300), (f"narrow{index}", 128)):
            weight = np.ones((outputs, channels, 1, 1), np.float32)
            build.add(f"w-{name}", nir.Conv2d((8, 8), weight, 1, 0, 1, 1, np.zeros(outputs)))
            build.integrate_and_fire(name, 1.0, (outputs, 8, 8))
            channels = outputs
    build.output((channels, 8, 8))
    answer = fit(assemble(build.build()), SPECK)
    assert isinstance(SPECK.layout, LayerCores)
    found = [one for one in answer.breaches if one.rule == "memory of a core"]
    assert found
    for one in found:
        assert one.used > one.limit
        assert f"{one.limit:,}" in one.problem
