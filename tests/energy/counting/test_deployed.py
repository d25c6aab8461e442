"""What a deployment folder runs is what is counted, with the graph it was made from beside it."""

from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.deployment import Place
from nsc_deploy.energy import Budget, advise, check, compare, count, estimate
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.lava.deployment import read_lava_deployment
from nsc_deploy.exporters.verify import open_deployment, run
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal
from tests.exporters.partitioned.test_deployment import receiver as receiver_in_parts
from tests.support.lava import random_events, receiver

STEPS, SAMPLES = 20, 30


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph, its recording, and its export to Lava and to the targets that compute in floating point."""
    folder = tmp_path_factory.mktemp("exports")
    write_network(folder / "receiver.nir", receiver())
    chance = np.random.default_rng(0)
    events, labels = random_events(chance, STEPS, SAMPLES, 24), chance.integers(0, 6, SAMPLES)
    write_recording(folder / "inputs.npz", Recording(events, Signal.EVENTS, 0.03, labels))
    for target in ("lava", "nir", "onnx"):
        export_all(folder / "receiver.nir", target, folder / target, inputs=folder / "inputs.npz")
    return folder


def test_integers_and_relays_are_counted_and_the_graph_stands_beside_them(place: Path) -> None:
    integers = read_lava_deployment(place / "lava").integers
    (system,) = count(place / "lava").systems
    (part,) = system.parts
    assert (system.label, system.target, part.name, part.place) == ("lava (lava)", "lava", "receiver", "chip")
    assert sum(layer.neurons for layer in part.layers) == sum(layer.neurons for layer in integers.layers)
    assert any("(relay in layer" in layer.name for layer in part.layers)
    assert (part.steps, part.late) == (STEPS + integers.latency, integers.latency)
    graph = count(place / "receiver.nir", inputs=place / "inputs.npz").systems[0].parts[0]
    assert system.floats[0].per_sample.acs.tolist() == graph.per_sample.acs.tolist()
    report = estimate(place / "lava").report.systems[0]
    assert report.float_graph is not None
    assert report.float_graph.synops.mean == graph.per_sample.synaptic.mean()
    assert report.float_graph.synops.mean != report.synops.mean
    decided = run(open_deployment(place / "lava"), "twin").parity()
    assert report.accuracy == decided["other_accuracy"]


@pytest.mark.parametrize("target", ["nir", "onnx"])
def test_what_computes_in_floating_point_is_counted_as_its_graph(place: Path, target: str) -> None:
    graph = count(place / "receiver.nir", inputs=place / "inputs.npz").systems[0]
    deployed = count(place / target).systems[0]
    assert deployed.parts[0].per_sample.acs.tolist() == graph.parts[0].per_sample.acs.tolist()
    assert (deployed.floats, deployed.accuracy) == ((), graph.accuracy)


def test_a_budget_is_held_against_what_is_deployed(place: Path) -> None:
    (part,) = count(place / "lava").systems[0].parts
    worst = int(part.per_sample.synaptic.max())
    limits = {"synops_per_inference": worst, "latency_steps": STEPS, "fits": True, "latency_ms": 1e6}
    result = check(place / "lava", Budget.model_validate({"target": "lava", "limits": limits}))
    found = {one.quantity: one for one in result.findings}
    assert (found["synops_per_inference"].value, found["synops_per_inference"].passed) == (worst, True)
    assert (found["latency_steps"].value, found["latency_steps"].passed) == (part.steps, False)
    assert found["latency_ms"].value == pytest.approx(part.steps * 30)
    assert found["fits"].passed
    assert "integers (the float graph: " in result.as_text()
    other = Budget.model_validate({"target": "loihi1", "limits": {"neurons": 1}})
    with pytest.raises(ConfigError, match=r"target loihi1, and lava \(lava\) is counted on lava") as caught:
        check(place / "lava", other)
    assert caught.value.hint == (
        "Take target out of the budget, or check the graph file or the run it was made from in place of the "
        "folder."
    )
    check(place / "lava", other.model_copy(update={"target": None}))
    check(place / "receiver.nir", other, inputs=place / "inputs.npz")
    with pytest.raises(ConfigError, match="on its target already"):
        count(place / "lava", target="loihi1")
    assert estimate(place / "lava", "loihi").report.target == "lava"


def test_a_deployment_is_compared_with_its_graph(place: Path) -> None:
    there = compare(place / "receiver.nir", place / "lava", inputs=[place / "inputs.npz"])
    assert there.systems[0].total["neurons"].difference > 0
    with pytest.raises(ConfigError, match="advice changes graphs"):
        advise(place / "lava")


def test_parts_of_a_deployment_hand_on_what_leaves_them(tmp_path: Path) -> None:
    write_network(tmp_path / "receiver.nir", receiver_in_parts())
    chance = np.random.default_rng(1)
    values = (np.round(chance.normal(0.2, 1, (25, 20, 4)) * 64) / 64).astype(np.float32)
    labels = chance.integers(0, 3, 20)
    write_recording(tmp_path / "inputs.npz", Recording(values, Signal.REAL, 0.01, labels))
    inputs, out = tmp_path / "inputs.npz", tmp_path / "deployed"
    export_all(tmp_path / "receiver.nir", "lava", out, inputs=inputs, split=True)
    (system,) = count(out).systems
    assert [(part.name, part.place) for part in system.parts] == [
        ("front-end", Place.HOST),
        ("chip", Place.CHIP),
        ("read-out", Place.HOST),
    ]
    alone = count(out / "chip").systems[0].parts[0]
    assert system.parts[1].per_sample.acs.tolist() == alone.per_sample.acs.tolist()
    assert system.accuracy == run(open_deployment(out), "twin").parity()["other_accuracy"]
    (on_host,) = check(
        out, Budget.model_validate({"place": "host", "limits": {"synops_per_step": 1}})
    ).findings
    assert on_host.passed is False
    # What integers are held against is the whole too, with what a host runs.
    graph = estimate(tmp_path / "receiver.nir", inputs=inputs).report.systems[0]
    (report,) = estimate(out).report.systems
    assert report.float_graph is not None
    dead = next(layer for layer in graph.parts[0].layers if layer.name == "dead")
    assert report.float_graph.synops.mean == pytest.approx(graph.synops.mean - dead.counts.acs)
    held = [
        check(out, Budget.model_validate({"place": where, "limits": {"synops_per_inference": 1}})).as_text()
        for where in ("host", "chip")
    ]
    assert ["the float graph: " in words for words in held] == [False, True]


def test_what_is_no_deployment_or_no_sample_is_refused(place: Path) -> None:
    with pytest.raises(DataError, match="neither a finished run"):
        count(place)
    with pytest.raises(ConfigError, match="samples"):
        count(place / "lava", samples=0)
