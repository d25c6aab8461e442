"""Parts on a target in the report: placement, pools, network, load and time."""

import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from nsc_deploy.energy import Estimate, count, estimate
from nsc_deploy.energy.output.terminal import print_report
from nsc_deploy.energy.pricing.profile import load_profile
from nsc_deploy.energy.report.on_chip import OnTarget, Run
from nsc_deploy.energy.report.schema import SCHEMA_VERSION, PartReport, Report
from nsc_deploy.errors import ConfigError
from nsc_deploy.graphs.formats.recording import write_recording
from nsc_deploy.graphs.network import Signal
from tests.energy.report.test_build import shell
from tests.support.small_runs import DT, SAMPLES, STEPS, dense_run, event_run, events, reals, spiking_graph


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [event_run(folder / "event"), dense_run(folder / "fc")]


@pytest.fixture(scope="module")
def report(runs: list[Path]) -> Report:
    return estimate(runs, profile="loihi").report


def placed(part: PartReport) -> OnTarget:
    assert part.on_target is not None
    return part.on_target


def test_the_profile_of_a_chip_names_the_target(report: Report, runs: list[Path]) -> None:
    assert report.target == "loihi1"
    assert report.options["target"] == "loihi1"
    without = estimate(runs[:1], samples=1).report
    assert without.target is None
    assert without.systems[0].parts[0].on_target is None
    assert estimate(runs[:1], profile="loihi", target="none", samples=1).report.target is None


def test_every_node_is_native_substituted_or_on_a_host(report: Report) -> None:
    event, fc = report.systems
    transmitter, front_end, receiver = (placed(part) for part in event.parts)
    assert {node.run for node in transmitter.nodes} == {Run.NATIVE}
    assert transmitter.nodes[0].node == "input"
    assert front_end.on_host
    assert not front_end.fits
    for on_host in (front_end, *(placed(part) for part in fc.parts)):
        assert {node.run for node in on_host.nodes} == {Run.HOST}
        assert not on_host.pools
        assert on_host.traffic is None
    assert receiver.fits
    assert not receiver.problems


def test_pools_have_used_limit_and_per_cent(report: Report) -> None:
    receiver = placed(report.systems[0].parts[2])
    pools = {(pool.core, pool.pool): pool for pool in receiver.pools}
    neurons = sum(layer.neurons for layer in report.systems[0].parts[2].layers)
    assert (pools[None, "neurons"].used, pools[None, "neurons"].limit) == (neurons, 131072)
    assert (pools[0, "neurons"].used, pools[0, "neurons"].limit) == (neurons, 1024)
    assert pools[0, "neurons"].percent == pytest.approx(100 * neurons / 1024)
    assert (pools[None, "delay steps"].limit, pools[None, "delay steps"].lower) == (62, 8)
    assert pools[0, "memory"].unit == "B"
    assert receiver.cores[0].tile == (0, 0)


def test_the_network_is_an_item_of_its_own(report: Report, runs: list[Path]) -> None:
    event = report.systems[0]
    counted = count(runs[:1], target="loihi1").systems[0]
    network = load_profile("loihi").network
    assert network.message is not None
    total = 0.0
    for part, told in zip(counted.placed, event.parts, strict=True):
        if part is None:
            continue
        assert part.activity is not None
        energy = placed(told).energy
        assert energy is not None
        # One core holds each of these parts: messages to itself, no hops.
        each = 111e-6 * part.activity.messages
        assert energy.mean_uj == pytest.approx(each.mean())
        assert energy.worst_uj == pytest.approx(each.max())
        assert energy.low_uj == pytest.approx(energy.mean_uj)
        total += energy.mean_uj
        traffic = placed(told).traffic
        assert traffic is not None
        assert traffic.synapse_events.mean == pytest.approx(told.counts.acs)
    assert event.network_uj == pytest.approx(total)
    assert sum(event.energy["compute"].kinds_uj.values()) == pytest.approx(event.energy["compute"].mean_uj)


def test_hops_are_priced_by_their_direction(tmp_path: Path) -> None:
    """A million synapses need more than one tile of four cores with 128 KB each."""
    graph, inputs = tmp_path / "wide.nir", tmp_path / "inputs.npz"
    spiking_graph(graph, [20, 1000, 1000, 6], Signal.EVENTS)
    write_recording(inputs, events(20).first(2))
    counted = count(graph, inputs=inputs, target="loihi1")
    part = counted.systems[0].placed[0]
    assert part is not None
    activity = part.activity
    assert part.found.fits
    assert activity is not None
    assert activity.hops is not None
    assert activity.hops.east_west.any()
    told = placed(counted.estimate("loihi").report.systems[0].parts[0]).energy
    assert told is not None
    each = 111 * activity.messages + 3.0 * activity.hops.east_west + 4.2 * activity.hops.north_south
    assert told.mean_uj == pytest.approx(1e-6 * each.mean())


def test_time_and_load_are_those_of_the_busiest_core(report: Report, runs: list[Path]) -> None:
    counted = count(runs[:1], target="loihi1").systems[0]
    part = counted.placed[2]
    assert part is not None
    assert part.activity is not None
    assert part.activity.times is not None
    told = placed(report.systems[0].parts[2])
    time, load = told.time, told.load
    assert time is not None
    assert load is not None
    assert (time.steps, time.late) == (STEPS + part.activity.late, part.activity.late)
    assert time.dt_us == pytest.approx(DT * 1e6)
    assert time.inference_us.mean.low == pytest.approx(part.activity.times.low.sum(axis=0).mean() / 1000)
    assert time.step_us.worst.high == pytest.approx(part.activity.times.high.max() / 1000)
    assert time.share == pytest.approx(time.step_us.worst.high / time.dt_us)
    assert time.step_us.mean.low <= time.step_us.mean.high <= time.step_us.worst.high
    assert time.step_us.mean.low >= 0.6
    assert load.limit == pytest.approx(1e9 / 3.8)
    assert load.worst == pytest.approx(part.activity.busiest.max() / (STEPS * DT))
    assert load.share == pytest.approx(load.worst * 3.8e-9)


def test_without_prices_of_messages_they_are_counted_and_not_priced(runs: list[Path]) -> None:
    for profile in ("horowitz-45nm", "loihi-minimum"):
        system = estimate(runs[:1], profile=profile, target="loihi1", samples=2).report.systems[0]
        assert placed(system.parts[0]).traffic is not None
        assert placed(system.parts[0]).time is not None
        assert placed(system.parts[0]).energy is None
        assert system.network_uj is None


def test_a_chip_without_published_durations_gets_no_time(runs: list[Path]) -> None:
    part = placed(estimate(runs[:1], target="loihi2", samples=2).report.systems[0].parts[0])
    assert part.fits
    assert part.traffic is not None
    assert part.traffic.hops is None
    assert part.time is None
    assert part.load is not None
    assert part.load.limit is None


def test_what_does_not_fit_gets_the_reason_and_no_figure(runs: list[Path], tmp_path: Path) -> None:
    graph, inputs = tmp_path / "real.nir", tmp_path / "inputs.npz"
    spiking_graph(graph, [6, 4], Signal.REAL)
    write_recording(inputs, reals(6))
    report = estimate([graph], inputs=[inputs], profile="loihi").report
    part = placed(report.systems[0].parts[0])
    assert not part.fits
    assert "real values" in part.problems[0]
    assert (part.traffic, part.energy, part.load, part.time) == (None, None, None, None)
    assert report.systems[0].network_uj is None
    text = StringIO()
    print_report(report, Console(file=text, width=100))
    assert "does not fit" in text.getvalue()
    assert "does not fit Intel Loihi" in Estimate(report).write(tmp_path / "out")[1].read_text()
    speck = placed(estimate(runs[:1], target="speck", samples=1).report.systems[0].parts[0])
    assert {node.run for node in speck.nodes} >= {Run.REFUSED}
    assert speck.traffic is None


@pytest.mark.parametrize(
    ("target", "words"), [("speck", "no limit for a core"), ("loihi2", "no limit of the chip")]
)
def test_what_is_not_published_is_said_and_not_made_up(
    runs: list[Path], tmp_path: Path, target: str, words: str
) -> None:
    report = estimate(runs[:1], target=target, samples=1).report
    text = StringIO()
    print_report(report, Console(file=text, width=100))
    page = Estimate(report).write(tmp_path / "out")[1].read_text()
    assert words in " ".join(text.getvalue().split())
    assert words in page
    for part in report.systems[0].parts:
        assert placed(part).time is None
        assert part.load.limit is None


def test_traffic_with_the_host_is_counted_and_said_to_have_no_price(runs: list[Path], tmp_path: Path) -> None:
    report = estimate(runs[:1], profile="loihi", samples=2).report
    traffic = placed(report.systems[0].parts[0]).traffic
    assert traffic is not None
    assert traffic.from_host.mean > 0
    text = StringIO()
    print_report(report, Console(file=text, width=100))
    said = "No source prices messages from and to the host"
    assert said in " ".join(text.getvalue().split())
    assert said in " ".join(Estimate(report).write(tmp_path / "out")[1].read_text().split())
    assert any("neither priced nor timed" in line for line in report.estimated)


def test_other_targets_have_verdicts_and_what_they_know_of_pools(runs: list[Path]) -> None:
    part = placed(estimate(runs[:1], target="lava", samples=1).report.systems[0].parts[0])
    assert part.fits
    assert "neurons" in {pool.pool for pool in part.pools}
    onnx = placed(estimate(runs[:1], target="onnx", samples=1).report.systems[0].parts[0])
    assert onnx.nodes
    assert not onnx.pools


def test_counting_is_the_same_with_and_without_a_target(runs: list[Path]) -> None:
    with_target, without = (
        estimate(runs, profile="loihi", target=name).report for name in ("loihi1", "none")
    )
    for one, other in zip(with_target.systems, without.systems, strict=True):
        assert one.counts == other.counts
        assert one.energy == other.energy


def test_all_three_forms_tell_it(report: Report, tmp_path: Path) -> None:
    text = StringIO()
    print_report(report, Console(file=text, width=100))
    page = Estimate(report).write(tmp_path)[1].read_text()
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["schema_version"] == SCHEMA_VERSION
    assert data["systems"][0]["parts"][0]["on_target"]["fits"] is True
    assert Report.model_validate(data) == report
    for words in ("memory of core 0", "axons in of core 0", "Time on the chip", "keeps up with a step every"):
        assert words in text.getvalue()
        assert words in page
    assert "where each node runs" in page
    for words in ("SANA-FE", "Limits and durations"):
        assert words in page
        assert words in text.getvalue()
    assert "network: hop north south" in page
    assert max(len(line) for line in text.getvalue().splitlines()) <= 100


def test_from_python_a_target_is_of_the_count(runs: list[Path]) -> None:
    assert estimate(runs[0], profile="loihi").report.target == "loihi1"
    assert count(runs[0], samples=1).estimate("loihi").report.target is None
    assert count(runs[0], samples=1, target="loihi1").estimate().report.target == "loihi1"
    with pytest.raises(ConfigError, match="unknown target"):
        count(runs[0], samples=1, target="loihi9")


def test_a_chip_that_a_profile_names_has_to_exist(runs: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "chip.toml"
    text = (Path(__file__).parents[3] / "nsc_deploy/energy/pricing/profiles/loihi.toml").read_text()
    path.write_text(text.replace('chip = "loihi1"', 'chip = "loihi9"'))
    with pytest.raises(ConfigError, match="loihi9"):
        estimate(runs[:1], profile=str(path), samples=1)


def test_a_profile_tells_its_chip_and_the_prices_of_its_network() -> None:
    shown = shell("energy", "profiles", "loihi").stdout
    for words in ("loihi1, on which", "hop_north_south", "111 pJ"):
        assert words in shown


def test_the_command_takes_a_target(runs: list[Path]) -> None:
    done = shell("energy", "report", runs[0], "--target", "loihi1", "--samples", 2, "--details")
    assert done.returncode == 0, done.stderr
    assert "Time on the chip" in done.stdout
    assert "no price" in done.stdout
    refused = shell("energy", "report", runs[0], "--target", "loihi9")
    assert refused.returncode == 2
    assert "unknown target" in refused.stderr


def test_samples_are_kept_apart(runs: list[Path]) -> None:
    """Batches of one sample and all at once give the same."""
    from nsc_deploy.energy.sources import find_sources
    from nsc_deploy.energy.systems import Options, count_source
    from nsc_deploy.exporters.registry import load_target

    (source,) = find_sources(runs[:1])
    target = load_target("loihi1")
    one, all_at_once = (count_source(source, Options(batch=batch, target=target)) for batch in (1, SAMPLES))
    for a, b in zip(one.placed, all_at_once.placed, strict=True):
        if a is not None and b is not None and a.activity is not None and b.activity is not None:
            assert np.array_equal(a.activity.messages, b.activity.messages)
            assert a.activity.times is not None
            assert b.activity.times is not None
            assert np.array_equal(a.activity.times.high, b.activity.times.high)
