import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import nir
import numpy as np
import onnx
import pytest
import yaml
from onnx import helper

import nsc_deploy
from nsc_deploy.deployment import Place
from nsc_deploy.energy import advise, check, compare, count, estimate
from nsc_deploy.energy.counting.nir import count_network
from nsc_deploy.energy.pricing.price import PriceBook
from nsc_deploy.energy.pricing.profile import load_profile
from nsc_deploy.energy.report.budget import Budget, check_budget, sample_weights
from nsc_deploy.errors import ConfigError, DataError, UserError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import read_graph, read_network, write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.readout import decide
from nsc_deploy.graphs.simulate import simulate
from tests.support.small_runs import (
    dense_graph,
    dense_run,
    event_run,
    events,
    onnx_graph,
    reals,
    spiking_graph,
    weights,
)

EXAMPLES = Path(__file__).parents[3] / "examples"
PRICES = PriceBook(load_profile("horowitz-45nm"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return event_run(tmp_path_factory.mktemp("runs") / "event")


def budget(folder: Path, text: str) -> Path:
    path = folder / "budget.toml"
    path.write_text(text)
    return path


def shell(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from nsc_deploy.cli.app import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, cwd=cwd)


@pytest.mark.parametrize(
    ("factor", "mark"),
    [(1.0004, "OVER"), (1.000001, "OVER"), (0.9996, "NEAR"), (0.8996, "ok"), (0.9, "NEAR"), (1.0, "NEAR")],
)
def test_no_figure_looks_as_if_it_were_on_the_other_side_of_its_limit(
    run: Path, factor: float, mark: str
) -> None:
    (value,) = {
        one.value for one in count([run]).check(Budget(limits={"energy_uj": 1.0, "neurons": 1})).findings[:1]
    }
    assert value is not None
    limits = {"energy_uj": value / factor}
    line = count([run]).check(Budget(limits=limits)).as_text().splitlines()[2]
    assert line.startswith(mark)
    given, share = re.findall(r"([\d.,]+) of ([\d.,]+)", line)[0], re.search(r"([\d.]+) %", line)
    assert share is not None
    assert (given[0] == given[1]) is (factor == 1.0)
    assert (float(share[1]) > 100, float(share[1]) == 100) == (factor > 1, factor == 1)
    assert (float(share[1]) >= 90) is (factor >= 0.9)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"limits": {"energy": 1}}, "field limits.energy: is not a field of a budget"),
        ({"limits": {"energy_uj": "250"}}, "field limits.energy_uj: is neither a number nor"),
        ({"limits": {"energy_uj": 1}, "colum": "paper"}, "did you mean column?"),
        ({"limits": {}}, "field limits: is empty"),
        ({}, "field limits: is missing"),
        ({"limits": {"energy_uj": 1}, "over": "best"}, "'best' is none of mean, worst"),
    ],
)
def test_a_budget_made_in_python_is_refused_as_a_file_is(
    tmp_path: Path, fields: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)) as caught:
        Budget(**fields)
    assert "synops_per_inference" in (caught.value.hint or "")
    tables = fields.get("limits", {}).items()
    rows = [f"{name} = {json.dumps(value)}" for name, value in fields.items() if name != "limits"]
    rows += ["[limits]"] * ("limits" in fields) + [f"{name} = {json.dumps(value)}" for name, value in tables]
    with pytest.raises(ConfigError) as read:
        Budget.read(budget(tmp_path, "\n".join(rows)))
    assert (read.value.problem, read.value.hint) == (caught.value.problem, caught.value.hint)


def test_values_are_those_of_the_counts(run: Path) -> None:
    counted = count([run]).systems
    parts = counted[0].parts
    synops = sum(part.per_sample.synaptic for part in parts)
    limits = {
        "synops_per_inference": {"most": 1e9, "over": "p95"},
        "synops_per_second": 1e9,
        "spikes_per_inference": {"most": 1e9, "over": "mean"},
        "neurons": 1e9,
        "latency_steps": 12,
        "energy_uj": {"most": 1e9, "over": "mean"},
        "memory_bytes": 1e9,
    }
    result = check_budget(counted, PRICES, Budget.model_validate({"limits": limits}))
    found = {finding.quantity: finding.value for finding in result.findings}
    assert result.passed
    assert found["synops_per_inference"] == pytest.approx(np.percentile(synops, 95))
    assert found["synops_per_second"] == pytest.approx(synops.max() / (12 * 0.03))
    assert found["spikes_per_inference"] == pytest.approx(
        np.mean(sum(part.per_sample.spikes for part in parts))
    )
    assert found["neurons"] == 16 + 32 + 16 + 4
    assert found["latency_steps"] == 12
    assert found["energy_uj"] == pytest.approx(estimate([run]).report.systems[0].energy["memory"].mean_uj)


def test_sides_and_places_choose_parts(run: Path) -> None:
    counted = count([run]).systems

    def neurons(**chosen: str) -> float | None:
        limits = Budget.model_validate({"limits": {"neurons": 1}, **chosen})
        return check_budget(counted, PRICES, limits).findings[0].value

    assert (neurons(side="transmitter"), neurons(side="receiver")) == (16, 52)
    assert (neurons(place="chip"), neurons(side="receiver", place="host")) == (36, 32)
    assert neurons(part="receiver-front-end") == 32


def test_over_the_limit_names_the_layers_that_use_most(run: Path) -> None:
    limits = Budget.model_validate({"over": "mean", "limits": {"synops_per_inference": 10, "neurons": 500}})
    over, fine = check_budget(count([run]).systems, PRICES, limits).findings
    layers = [layer for part in estimate([run]).report.systems[0].parts for layer in part.layers]
    largest = max(layers, key=lambda layer: layer.counts.acs + layer.counts.macs)
    assert (over.passed, fine.passed) == (False, True)
    assert over.culprits[0].layer == largest.name
    assert over.culprits[0].value == pytest.approx(largest.counts.acs + largest.counts.macs)


@pytest.mark.parametrize("over", ["mean", "worst", "p50", "p90", "p95", "p0", "p99.9"])
def test_the_samples_that_decide_make_up_the_number(over: str) -> None:
    values = np.array([1.0, 3.0, 2.0, 10.0, 2.0])
    weights = sample_weights(values, over)
    expected = {"mean": values.mean(), "worst": 10.0}
    wanted = expected[over] if over in expected else np.percentile(values, float(over[1:]))
    assert weights @ values == pytest.approx(wanted)
    assert weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("over", ["mean", "worst", "p95"])
def test_culprits_are_shares_of_the_number_they_explain(over: str, run: Path) -> None:
    limits = Budget.model_validate({"over": over, "limits": {"synops_per_inference": 1, "energy_uj": 1e-9}})
    for finding in check_budget(count([run]).systems, PRICES, limits).findings:
        assert finding.culprits
        assert finding.value is not None
        for culprit in finding.culprits:
            assert culprit.value == pytest.approx(culprit.share * finding.value)
        assert sum(culprit.share for culprit in finding.culprits) <= 1 + 1e-9


@pytest.mark.parametrize("over", ["mean", "p95", "worst"])
@pytest.mark.parametrize("samples", [6, 23, 49, 98, 128])
def test_equal_samples_keep_to_a_limit_of_what_each_takes(samples: int, over: str) -> None:
    builder = GraphBuilder(1e-3)
    builder.input(3, Signal.EVENTS)
    builder.linear("fc", np.ones((5, 3)))
    builder.output(5)
    counted = count(builder.build(), inputs=np.ones((2, samples, 3), np.uint8), signal="events", dt=1e-3)
    text = counted.check(Budget(over=over, limits={"synops_per_inference": 30, "energy_uj": 1})).as_text()
    assert "30 of 30 SynOps  100 %" in text
    for most, holds in ((30, True), (29.9999, False)):
        [finding] = counted.check(Budget(over=over, limits={"synops_per_inference": most})).findings
        assert (finding.passed, finding.value) == (holds, pytest.approx(30, rel=1e-12))
        assert over != "mean" or finding.value == 30


BAD = [
    ("limits = ", "not valid TOML"),
    ("over = 'mean'", "limits"),
    ("[limits]", "limits"),
    ("[limits]\nsynopses = 3", "synopses"),
    ("[limits]\nneurons = -1", "neurons"),
    ("[limits]\nneurons = '500k'", "field limits.neurons: is neither a number nor { most"),
    ("[limits]\nneurons = {most = 1, over = 'p95'}", "takes no 'over'"),
    ("[limits]\naccuracy = 98", "accuracy"),
    ("[limits]\nfits = false", "fits"),
    ("[limits]\nneurons = nan", "neurons"),
    ("over = 'p200'\n[limits]\nneurons = 1", "p200"),
    ("[limits]\nneurons = {most = 1, over = 'often'}", "often"),
    ("colour = 1\n[limits]\nneurons = 1", "typo"),
]


def test_the_budgets_that_are_shown_can_be_read(tmp_path: Path) -> None:
    page = (EXAMPLES.parent / "docs" / "energy.md").read_text()
    shown = [block for block in re.findall(r"```toml\n(.*?)```", page, re.S) if "[limits]" in block]
    assert len(shown) == 1
    assert Budget.read(budget(tmp_path, shown[0])) == Budget.read(EXAMPLES / "ci" / "budget.toml")


@pytest.mark.parametrize(("text", "words"), BAD)
def test_a_bad_budget_names_the_field(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Budget.read(budget(tmp_path, text))
    assert words in caught.value.message


def test_what_cannot_be_held_against_a_limit_is_refused(run: Path, tmp_path: Path) -> None:
    dense = dense_run(tmp_path / "fc")
    (tmp_path / "old.json").write_text('{"schema_version": 1}')
    cases: list[tuple[dict[str, object], type[UserError], str]] = [
        ({}, ConfigError, "nothing to check against"),
        ({"budget": tmp_path / "none.toml"}, ConfigError, "none.toml"),
        ({"baseline": tmp_path / "old.json"}, DataError, "schema version"),
        ({"baseline": tmp_path / "none.json"}, DataError, "none.json"),
    ]
    for options, kind, words in cases:
        with pytest.raises(kind) as caught:
            check([dense], **options)  # type: ignore[arg-type]
        assert words in caught.value.message
    chip = tmp_path / "chip.toml"
    chip.write_text("place = 'chip'\n[limits]\nneurons = 5")
    with pytest.raises(ConfigError, match="no such part"):
        check([dense], budget=chip)


SPIKES = [
    helper.make_node("MatMul", ["input", "w"], ["driven"], name="dense"),
    helper.make_node("Greater", ["driven", "limit"], ["fired"], name="fired"),
    helper.make_node("Cast", ["fired"], ["spikes"], to=1),
    helper.make_node("MatMul", ["spikes", "v"], ["output"], name="behind"),
]


@pytest.mark.parametrize(
    ("nodes", "quantity", "told"),
    [
        (SPIKES, "spikes_per_inference", False),
        (SPIKES, "neurons", False),
        (
            [*SPIKES[:1], helper.make_node("Sign", ["driven"], ["spikes"]), SPIKES[3]],
            "spikes_per_inference",
            False,
        ),
        (
            [*SPIKES[:1], helper.make_node("Relu", ["driven"], ["spikes"]), SPIKES[3]],
            "spikes_per_inference",
            True,
        ),
        ([*SPIKES[:1], helper.make_node("Relu", ["driven"], ["spikes"]), SPIKES[3]], "neurons", False),
    ],
)
def test_limits_on_what_an_onnx_graph_does_not_tell_cannot_be_shown_to_hold(
    tmp_path: Path, nodes: list[Any], quantity: str, told: bool
) -> None:
    constants = {"w": weights(4, 5), "v": weights(5, 3), "limit": np.float32(0)}
    onnx_graph(tmp_path / "net.onnx", nodes, constants, 4, 3)
    write_recording(tmp_path / "inputs.npz", reals(4))
    limited = Budget.model_validate({"limits": {quantity: 5, "synops_per_inference": 1e9}})
    found = check(tmp_path / "net.onnx", limited, inputs=tmp_path / "inputs.npz")
    assert found.passed is told
    if not told:
        (unanswered,) = found.unanswered
        assert unanswered.quantity == quantity
        assert "ONNX graphs (net) do not tell their" in unanswered.why


def test_a_baseline_leaves_out_what_is_not_told_and_refuses_what_has_no_price(tmp_path: Path) -> None:
    onnx_graph(tmp_path / "net.onnx", SPIKES[:3], {"w": weights(4, 3), "limit": np.float32(0)}, 4, 3)
    model = onnx.load(tmp_path / "net.onnx")
    model.graph.node[2].output[0] = "output"
    onnx.save(model, tmp_path / "net.onnx")
    write_recording(tmp_path / "inputs.npz", events(4))
    named = {"inputs": tmp_path / "inputs.npz"}
    cmos = estimate(tmp_path / "net.onnx", **named)
    held = check(tmp_path / "net.onnx", baseline=cmos, **named)
    assert [one.quantity for one in held.findings] == [
        "synops against the baseline",
        "energy_uj against the baseline",
    ]
    chip = estimate(tmp_path / "net.onnx", "loihi", target="none", **named)
    (energy,) = check(tmp_path / "net.onnx", baseline=chip, target="none", **named).unanswered
    assert "no price for neuron_updates of net/fired, spikes of" in energy.why


def test_a_baseline_sees_operations_without_a_price(tmp_path: Path) -> None:
    """A later build with products that the profile cannot price must not pass for as frugal as before."""

    def graph(scales: int) -> Path:
        builder = GraphBuilder(0.03)
        builder.input(4, Signal.EVENTS)
        builder.linear("linear", weights(3, 4))
        for index in range(scales):
            builder.add(f"scale{index}", nir.Scale(np.full(3, 2.0, np.float32)))
        builder.lif("lif", 0.9, 0.3, 3)
        builder.output(3)
        write_network(tmp_path / f"net{scales}.nir", builder.build())
        return tmp_path / f"net{scales}.nir"

    write_recording(tmp_path / "inputs.npz", events(4))
    named = {"inputs": tmp_path / "inputs.npz", "target": "none"}
    before = estimate(graph(0), "loihi", **named)
    assert check(graph(0), baseline=before, **named).passed
    (energy,) = check(graph(2), baseline=before, tolerance=10, **named).unanswered
    assert "no price for products of net2/scale0" in energy.why
    done = shell(
        *("energy", "check", graph(2), "--inputs", tmp_path / "inputs.npz", "--target", "none"),
        *("--baseline", before.write(tmp_path / "out")[0], "--tolerance", 10),
    )
    assert done.returncode == 2, done.stdout
    compared = compare(graph(0), graph(2), profile="loihi", **named).systems[0]
    assert [layer.layer for layer in compared.layers if layer.unpriced] == ["scale0", "scale1"]


def test_comparing_over_other_recordings_says_so(tmp_path: Path) -> None:
    spiking_graph(tmp_path / "net.nir", [6, 4], Signal.EVENTS)
    for name, rate in (("calm", 0.1), ("busy", 0.5)):
        write_recording(tmp_path / f"{name}.npz", events(6, rate=rate))
    calm = estimate(tmp_path / "net.nir", inputs=tmp_path / "calm.npz")
    busy = estimate(tmp_path / "net.nir", inputs=tmp_path / "busy.npz")
    assert calm.compare(calm).warnings == ()
    [warning] = calm.compare(busy).warnings
    assert warning.name == "other-recording"
    assert "calm.npz (10 samples) and busy.npz (10 samples)" in warning.message
    assert busy.check_against(calm, tolerance=100).warnings == (warning,)
    fewer = estimate(tmp_path / "net.nir", inputs=tmp_path / "calm.npz", samples=4)
    assert "(10 samples) and calm.npz (4 samples)" in calm.compare(fewer).warnings[0].message
    report = calm.write(tmp_path / "out")[0]
    done = shell(
        "energy", "check", tmp_path / "net.nir", "--inputs", tmp_path / "busy.npz", "--baseline", report
    )
    assert "other recorded inputs" in done.stderr


def test_comparing_what_was_read_in_another_way_says_so_or_is_refused(tmp_path: Path) -> None:
    spiking_graph(tmp_path / "net.nir", [6, 4], Signal.REAL)
    np.save(tmp_path / "inputs.npy", events(6).values)
    plain = {"inputs": tmp_path / "inputs.npy", "dt": 0.03}
    real = estimate(tmp_path / "net.nir", signal="real", **plain)
    turned = estimate(tmp_path / "net.nir", signal="real", samples_first=True, **plain)
    assert real.compare(real).warnings == ()
    assert [one.name for one in real.compare(turned).warnings] == ["other-reading", "other-recording"]
    dense_graph(tmp_path / "net.onnx", [6, 4])
    real, sparse = (
        estimate(tmp_path / "net.onnx", signal="real", skip_zeros=skipped, **plain)
        for skipped in (False, True)
    )
    for before, after, which in ((real, sparse, "second"), (sparse, real, "first")):
        with pytest.raises(ConfigError, match=f"left out of the {which} report alone"):
            before.compare(after)
        with pytest.raises(ConfigError, match="left out"):
            after.check_against(before)
    report = sparse.write(tmp_path / "out")[0]
    words = ["energy", "check", tmp_path / "net.onnx", "--inputs", tmp_path / "inputs.npy", "--dt", 0.03]
    done = shell(*words, "--signal", "real", "--skip-zeros", "--baseline", report)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("option", "value"), [("layout", "batch-first"), ("skip_zeros", True)])
def test_options_of_onnx_graphs_are_refused_where_there_are_none(
    tmp_path: Path, option: str, value: object
) -> None:
    spiking_graph(tmp_path / "net.nir", [6, 4], Signal.REAL)
    dense_graph(tmp_path / "net.onnx", [6, 4])
    write_recording(tmp_path / "in.npz", reals(6))
    spiking, dense, given = tmp_path / "net.nir", tmp_path / "net.onnx", {"inputs": tmp_path / "in.npz"}
    limits = budget(tmp_path, "[limits]\nsynops_per_inference = 1e9\n")
    for ask in (
        partial(estimate, spiking),
        partial(compare, spiking, spiking),
        partial(check, spiking, limits),
    ):
        with pytest.raises(ConfigError, match=r"ONNX|onnx") as caught:
            ask(**given, **{option: value})
        assert caught.value.where == "--" + option.replace("_", "-")
    if option == "skip_zeros":
        assert compare(spiking, dense, **given, skip_zeros=True).systems
        assert estimate([spiking, dense], **given, skip_zeros=True).report.systems


def test_a_reset_is_refused_where_no_nir_graph_could_leave_it_open(tmp_path: Path) -> None:
    dense_graph(tmp_path / "net.onnx", [6, 4])
    write_recording(tmp_path / "in.npz", reals(6))
    dense, given = tmp_path / "net.onnx", {"inputs": tmp_path / "in.npz", "reset": "zero"}
    for ask in (partial(estimate, dense), partial(compare, dense, dense)):
        with pytest.raises(ConfigError, match="a NIR graph reset") as caught:
            ask(**given)
        assert caught.value.where == "--reset"
    spiking_graph(tmp_path / "net.nir", [6, 4], Signal.REAL)
    assert estimate([dense, tmp_path / "net.nir"], **given).report.systems


@pytest.mark.parametrize("tolerance", [-3, 0.05])
def test_a_tolerance_of_no_baseline_is_refused(run: Path, tolerance: float) -> None:
    for ask in (partial(check, run), count(run, samples=1).check):
        with pytest.raises(ConfigError, match="no baseline") as caught:
            ask(limits(neurons=1e6), tolerance=tolerance)
        assert caught.value.where == "--tolerance"


def test_nothing_is_not_near_a_limit_of_nothing(tmp_path: Path) -> None:
    spiking_graph(tmp_path / "net.nir", [6, 4], Signal.EVENTS)
    write_recording(tmp_path / "in.npz", events(6, rate=0.0))
    counted = count(tmp_path / "net.nir", inputs=tmp_path / "in.npz")
    (found,) = counted.check(limits(synops_per_inference=0)).findings
    assert (found.value, found.passed, found.near) == (0, True, False)


def heavier(run: Path, folder: Path) -> Path:
    """The same run with another first layer in its receiver."""
    shutil.copytree(run, folder)
    spiking_graph(folder / "receiver.nir", [32, 24, 4], Signal.EVENTS)
    return folder


def test_a_regression_against_a_baseline_is_found_and_named(run: Path, tmp_path: Path) -> None:
    baseline = estimate([run]).write(tmp_path / "baseline")[0]
    assert check([run], baseline=baseline).passed
    changed = heavier(run, tmp_path / "changed")
    result = check([changed], baseline=baseline, tolerance=0.01)
    worse = {finding.quantity: finding for finding in result.findings if not finding.passed}
    assert "neurons against the baseline" in worse
    assert worse["neurons against the baseline"].culprits[0].layer == "lif1"
    assert check([changed], baseline=baseline, tolerance=10).passed
    with pytest.raises(ConfigError, match="tolerance"):
        check([run], baseline=baseline, tolerance=-1)


def test_a_comparison_tells_layer_by_layer(run: Path, tmp_path: Path) -> None:
    changed = heavier(run, tmp_path / "changed")
    found = compare(run, changed).systems[0]
    status = {(layer.part, layer.layer): layer.status for layer in found.layers}
    assert status["transmitter", "linear1"] == "same"
    assert status["receiver", "linear1"] == "changed"
    of = {layer.layer: layer.changes for layer in found.layers if layer.part == "receiver"}
    assert (of["linear1"]["synapses"].before, of["linear1"]["synapses"].after) == (32 * 16, 32 * 24)
    assert found.total["neurons"].difference == 8
    report = estimate([run], profile="loihi").write(tmp_path / "out")[0]
    assert compare(report, changed).profile == "loihi"
    with pytest.raises(ConfigError, match="different prices"):
        compare(report, estimate([run]).write(tmp_path / "other")[0])


def test_added_and_removed_layers(tmp_path: Path) -> None:
    spiking_graph(tmp_path / "a.nir", [6, 4], Signal.EVENTS)
    spiking_graph(tmp_path / "b.nir", [6, 5, 4], Signal.EVENTS)
    write_recording(tmp_path / "inputs.npz", events(6))
    there = compare(tmp_path / "a.nir", tmp_path / "b.nir", inputs=[tmp_path / "inputs.npz"])
    layers = there.systems[0].layers
    assert {layer.layer for layer in layers if layer.status == "added"} == {"linear2", "lif2"}
    assert not any(layer.status == "removed" for layer in layers)
    back = compare(tmp_path / "b.nir", tmp_path / "a.nir", inputs=[tmp_path / "inputs.npz"])
    assert any(layer.layer == "lif2" and layer.status == "removed" for layer in back.systems[0].layers)


def test_the_command_ends_with_0_1_and_2(run: Path, tmp_path: Path) -> None:
    loose = budget(tmp_path, "[limits]\nneurons = 1000")
    assert shell("energy", "check", run, "--budget", loose).returncode == 0
    tight = budget(tmp_path, "[limits]\nsynops_per_inference = 5\nneurons = 1000")
    junit = tmp_path / "energy.xml"
    over = shell("energy", "check", run, "--budget", tight, "--junit", junit, "--format", "github")
    assert over.returncode == 1
    assert re.search(r"^::error title=energy budget%2C att-neurosc \(event\)::synops", over.stdout, re.M)
    suite = ET.parse(junit).getroot()  # noqa: S314 (written by the line above)
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert suite.find(".//failure") is not None
    bad = shell("energy", "check", run)
    assert bad.returncode == 2
    assert "Traceback" not in bad.stderr
    as_json = shell("energy", "check", run, "--budget", tight, "--json")
    answer = json.loads(as_json.stdout)
    assert (answer["passed"], answer["findings"][0]["passed"], answer["findings"][1]["passed"]) == (
        False,
        False,
        True,
    )
    assert answer["budget"]["limits"]["neurons"]["most"] == 1000
    assert (answer["profile"], answer["systems"][0]["samples"]) == ("horowitz-45nm", 10)
    assert [one["unit"] for one in answer["findings"]] == ["SynOps", "neurons"]
    compared = shell("energy", "compare", run, run, "--samples", 2)
    assert compared.returncode == 0, compared.stderr
    assert "layers unchanged" in compared.stdout
    assert compared.stderr == ""  # no bar where nobody watches


@pytest.mark.parametrize("sign", ["\ufffe", "\uffff", "\x0b", "\x1b", "\u202e", "\U0001fffe", "<&\"'>", "ü"])
def test_junit_is_xml_whatever_the_names_are(sign: str, run: Path) -> None:
    """Names of nodes and of systems, which are paths, may hold what XML cannot."""
    builder = GraphBuilder(0.03)
    builder.input(3, Signal.EVENTS)
    builder.linear(f"weights{sign}", np.ones((4, 3)))
    builder.lif("neurons", 0.9, 0.3, 4)
    builder.output(4)
    recording = Recording(np.ones((6, 4, 3), np.uint8), Signal.EVENTS, 0.03)
    part = count_network(assemble(builder.build()), recording, name="graph")
    [system] = count([run]).systems
    named = replace(system, label=f"system{sign}", parts=(part,))
    limits = Budget.model_validate({"limits": {"synops_per_inference": 0}})
    suite = ET.fromstring(check_budget((named,), PRICES, limits).as_junit())  # noqa: S314 (our own)
    case = suite.find(".//testcase")
    assert case is not None
    assert case.get("classname", "").startswith("energy.system")
    assert "weights" in (case.findtext("failure") or "")


def test_annotations_keep_to_one_line_each(run: Path) -> None:
    limits = Budget.model_validate({"limits": {"neurons": 1, "synops_per_inference": 1}})
    lines = check_budget(count([run]).systems, PRICES, limits).as_github().splitlines()
    assert [line.split(" ", 1)[0] for line in lines] == ["::error", "::error", "::notice"]
    assert "%0A" in lines[0]


@pytest.fixture
def checkout(run: Path, tmp_path: Path) -> Path:
    """What the snippets of `examples/ci` name, where they name it, and the command on the path."""
    shutil.copytree(run, tmp_path / "runs" / "event")
    (tmp_path / "examples" / "ci").mkdir(parents=True)
    shutil.copy(EXAMPLES / "ci" / "budget.toml", tmp_path / "examples" / "ci")
    estimate([run]).write(tmp_path / "baseline")
    command = tmp_path / "bin" / "nsc-deploy"
    command.parent.mkdir()
    script = f"#!{sys.executable}\nfrom nsc_deploy.cli.app import main\nmain()\n"
    command.write_text(script)
    command.chmod(0o755)
    return tmp_path


def as_in_ci(line: str, checkout: Path) -> subprocess.CompletedProcess[str]:
    """A line of a snippet in the shell that GitHub runs it in."""
    path = f"{checkout / 'bin'}:{os.environ['PATH']}"
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", line]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, cwd=checkout,
        env=os.environ | {"PATH": path},
    )  # fmt: skip


@pytest.mark.slow
def test_the_github_action_runs(checkout: Path) -> None:
    workflow = yaml.safe_load((EXAMPLES / "ci" / "github-actions.yml").read_text())
    steps = workflow["jobs"]["budget"]["steps"]
    lines = [step["run"] for step in steps if "run" in step]
    assert lines.pop(0).startswith("pip install ")
    assert len(lines) == 2
    for line in lines:
        done = as_in_ci(line, checkout)
        assert done.returncode == 0, done.stderr + done.stdout
    kept = next(step["with"]["path"] for step in steps if "upload-artifact" in step.get("uses", ""))
    assert ET.parse(checkout / kept).getroot().get("failures") == "0"  # noqa: S314
    (checkout / "examples" / "ci" / "budget.toml").write_text("[limits]\nneurons = 1")
    assert [as_in_ci(line, checkout).returncode for line in lines] == [1, 0]
    heavier(checkout / "runs" / "event", checkout / "heavier")
    shutil.rmtree(checkout / "runs" / "event")
    (checkout / "heavier").rename(checkout / "runs" / "event")
    assert as_in_ci(lines[1], checkout).returncode == 1


def test_the_pre_commit_hook_runs(checkout: Path) -> None:
    config = yaml.safe_load((EXAMPLES / "ci" / "pre-commit-config.yaml").read_text())
    (hook,) = config["repos"][0]["hooks"]
    assert hook["language"] == "system"
    assert re.search(hook["files"], "runs/event/receiver.nir")
    assert not re.search(hook["files"], "README.md")
    assert as_in_ci(hook["entry"], checkout).returncode == 0
    (checkout / "examples" / "ci" / "budget.toml").write_text("[limits]\nneurons = 1")
    assert as_in_ci(hook["entry"], checkout).returncode == 1


def limits(**values: object) -> Budget:
    return Budget.model_validate({"limits": values})


def test_the_busiest_step_of_the_worst_sample_is_what_it_says(run: Path) -> None:
    counted = count([run]).systems
    of_steps = sum(part.synops for part in counted[0].parts if part.synops is not None)
    assert isinstance(of_steps, np.ndarray)
    step, sample = np.unravel_index(of_steps.argmax(), of_steps.shape)
    (found,) = check_budget(counted, PRICES, limits(synops_per_step=1)).findings
    assert (found.value, found.sample, found.step) == (of_steps.max(), sample, step)
    mean = Budget.model_validate({"over": "mean", "limits": {"synops_per_step": 1}})
    (found,) = check_budget(counted, PRICES, mean).findings
    assert found.value == pytest.approx(of_steps.max(axis=0).mean())
    assert (found.sample, found.step) == (None, None)
    assert found.culprits
    assert sum(one.share for one in found.culprits) <= 1 + 1e-9


def test_latency_holds_the_pipeline_of_the_target_and_a_step_takes_what_the_chip_needs(run: Path) -> None:
    bounds = limits(latency_steps=12, latency_ms=360)
    steps, time = check_budget(count(run).systems, PRICES, bounds).findings
    assert (steps.value, steps.passed, time.value) == (12, True, pytest.approx(12 * 30))
    placed = count(run, target="loihi1").systems
    steps, time = check_budget(placed, PRICES, bounds).findings
    late = max(one.activity.late for one in placed[0].placed if one is not None and one.activity is not None)
    assert late > 0
    assert (steps.value, steps.passed) == (12 + late, False)
    assert time.value == pytest.approx((12 + late) * 30)
    # Steps of a nanosecond are over before the chip is done with one.
    fast = count(run, target="loihi1", step_seconds=1e-9).systems
    _, time = check_budget(fast, PRICES, bounds).findings
    activities = [one.activity for one in fast[0].placed if one is not None]
    longest = max(one.times.high.sum(axis=0).max() for one in activities if one is not None and one.times)
    assert time.value == pytest.approx(longest / 1e6)


def test_cores_fit_and_accuracy_are_limits_too(run: Path) -> None:
    bounds = limits(cores=1, fits=True, accuracy=0.97)
    cores, accuracy, fits = check_budget(count(run, target="loihi1").systems, PRICES, bounds).findings
    assert (cores.value, cores.passed, fits.passed) == (2, False, True)
    assert (accuracy.value, accuracy.passed, accuracy.at_least) == (0.962, False, True)
    unknown = check_budget(count(run).systems, PRICES, limits(cores=1, fits=True)).findings
    assert [one.passed for one in unknown] == [None, None]
    assert all("target" in one.why for one in unknown)


def test_what_does_not_fit_says_why(tmp_path: Path) -> None:
    spiking_graph(tmp_path / "wide.nir", [6, 3000, 4], Signal.EVENTS)
    write_recording(tmp_path / "inputs.npz", events(6))
    chip = tmp_path / "chip.toml"
    shipped = Path(nsc_deploy.__file__).parent / "exporters" / "chips" / "xylo-audio2.toml"
    chip.write_text(shipped.read_text())
    placed = count(tmp_path / "wide.nir", inputs=tmp_path / "inputs.npz", target=str(chip)).systems
    (found,) = check_budget(placed, PRICES, limits(fits=True)).findings
    assert found.passed is False
    assert "does not fit" in found.why


def test_accuracy_of_a_labelled_recording_is_measured(tmp_path: Path) -> None:
    spiking_graph(tmp_path / "graph.nir", [6, 4], Signal.EVENTS)
    network = read_network(tmp_path / "graph.nir")
    recording = events(6, rate=0.5)
    outputs = simulate(network, recording.values).outputs["output"]
    labels = decide(outputs, 2, 2)
    labels[:3] = 1 - labels[:3]
    write_recording(tmp_path / "inputs.npz", replace(recording, labels=labels))
    counted = count(tmp_path / "graph.nir", inputs=tmp_path / "inputs.npz")
    assert counted.systems[0].accuracy == 0.7
    assert counted.estimate().report.systems[0].accuracy == 0.7
    (found,) = check_budget(counted.systems, PRICES, limits(accuracy=0.8)).findings
    assert (found.value, found.passed) == (0.7, False)
    bare = read_graph(tmp_path / "graph.nir")
    bare.nodes["output"].metadata.clear()
    nir.write(tmp_path / "bare.nir", bare)
    inputs = tmp_path / "inputs.npz"
    assert count(tmp_path / "bare.nir", inputs=inputs).systems[0].accuracy is None
    assert count(tmp_path / "bare.nir", inputs=inputs, classes=2).systems[0].accuracy == 0.7


def test_a_limit_without_an_answer_hides_no_other(run: Path, tmp_path: Path) -> None:
    bounds = "profile = 'loihi'\ntarget = 'none'\nside = 'transmitter'\n[limits]\nmemory_bytes = 9\n"
    unknown = budget(tmp_path, bounds + "neurons = 100\nsynops_per_inference = 1e9\n")
    done = shell(
        "energy", "check", run, "--budget", unknown, "--junit", tmp_path / "a.xml", "--format", "github"
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "memory_bytes cannot be shown" in done.stdout
    assert "2 of 3 limits hold" in done.stdout
    suite = ET.parse(tmp_path / "a.xml").getroot()  # noqa: S314 (written by the line above)
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "0", "1")
    # On its own chip the bytes are those of its cores.
    at_home = budget(tmp_path, bounds.replace("target = 'none'", "target = 'loihi1'").replace("9", "1e6"))
    assert check(run, at_home).passed
    tight = budget(tmp_path, bounds + "neurons = 1\n")
    assert shell("energy", "check", run, "--budget", tight).returncode == 1


def test_a_lower_bound_exceeds_a_limit_and_never_keeps_to_it(run: Path) -> None:
    counted = count(run).systems
    odin = PriceBook(load_profile("odin"))
    (found,) = check_budget(counted, odin, limits(energy_uj=1e6)).findings
    assert (found.passed, found.value is not None) == (None, True)
    assert "no price" in found.why
    assert found.value is not None
    (over,) = check_budget(counted, odin, limits(energy_uj=found.value / 2)).findings
    assert over.passed is False


def test_a_budget_says_what_it_stands_on_and_its_answer_too(run: Path, tmp_path: Path) -> None:
    shipped = Path(nsc_deploy.__file__).parent / "energy" / "pricing" / "profiles" / "horowitz-45nm-int8.toml"
    (tmp_path / "own.toml").write_text(shipped.read_text())
    text = (
        "profile = 'own.toml'\nhost_profile = 'arm-cortex-a'\ntarget = 'loihi1'\npart = 'receiver'\n"
        "column = 'compute'\n[limits]\nneurons = 21\nsynops_per_inference = 1\n"
    )
    signed = budget(tmp_path, text)
    result = check(run, signed)
    lines = result.as_text().splitlines()
    assert lines[0] == "prices horowitz-45nm-int8, MAC-aware; host parts arm-cortex-a; target loihi1"
    assert lines[1] == "att-neurosc (event): receiver; 10 samples, 12 steps of 30 ms"
    assert lines[2].startswith("OVER  synops_per_inference")
    (near,) = [line for line in lines if line.startswith("NEAR")]
    assert near == "NEAR  neurons               20 of 21 neurons  95 %"
    assert lines[-1] == "1 of 2 limits exceeded, 1 from 90 % on"
    assert "::warning title=energy budget%2C att-neurosc (event)::neurons 20 of 21" in result.as_github()
    with pytest.raises(ConfigError, match=r"budget is for the profile .*own\.toml, and loihi is given"):
        check(run, signed, profile="loihi")
    with pytest.raises(ConfigError, match=r"budget is for the target loihi1, and .* on none"):
        count(run).check(Budget.read(signed))
    with pytest.raises(ConfigError, match=r"part = 'encoder'.*it has: transmitter \(transmitter chip\)"):
        check(run, budget(tmp_path, "part = 'encoder'\n[limits]\nneurons = 1"))
    unknown = budget(tmp_path, "target = 'loihi3'\n[limits]\nneurons = 1")
    for ask in (check, advise):
        with pytest.raises(ConfigError, match=rf"{unknown.name}: target: unknown target 'loihi3'.*loihi"):
            ask(run, budget=unknown)


def test_a_check_that_cannot_be_made_is_told_to_the_ci_server(run: Path, tmp_path: Path) -> None:
    junit = tmp_path / "energy.xml"
    done = shell(
        *("energy", "check", run, "--budget", tmp_path / "gone.toml", "--junit", junit, "--format", "github")
    )
    assert done.returncode == 2
    assert re.search(r"^::error title=energy budget::.*gone\.toml", done.stdout, re.M)
    suite = ET.parse(junit).getroot()  # noqa: S314 (written by the line above)
    assert (suite.get("tests"), suite.get("errors")) == ("1", "1")
    assert "gone.toml" in (suite.find(".//error").get("message") + suite.find(".//error").text)  # type: ignore


def test_host_parts_have_prices_of_their_own(run: Path) -> None:
    chip = estimate(run, "loihi").report
    both = estimate(run, "loihi", host_profile="arm-cortex-a").report
    assert (chip.host_profile, both.host_profile and both.host_profile.name) == (None, "arm-cortex-a")
    alone = estimate(run, "arm-cortex-a").report
    for index, part in enumerate(chip.systems[0].parts):
        found = both.systems[0].parts[index].energy
        assert found == (alone if part.place is Place.HOST else chip).systems[0].parts[index].energy
    assert any("as if they ran there" in line for line in chip.estimated)
    assert any("priced with arm-cortex-a" in line for line in both.estimated)
