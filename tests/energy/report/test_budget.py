import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import nir
import numpy as np
import onnx
import pytest
import yaml
from onnx import helper

from nsc_deploy.energy import check, compare, count, estimate
from nsc_deploy.energy.counting.nir import count_network
from nsc_deploy.energy.pricing.profile import load_profile
from nsc_deploy.energy.report.budget import Budget, check_budget, sample_weights
from nsc_deploy.errors import ConfigError, DataError, UserError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal
from tests.support.small_runs import dense_run, event_run, events, onnx_graph, reals, spiking_graph, weights

EXAMPLES = Path(__file__).parents[3] / "examples"
PROFILE = load_profile("horowitz-45nm")


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
    result = check_budget(counted, PROFILE, Budget.model_validate({"limits": limits}))
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

    def neurons(**chosen: str) -> float:
        limits = Budget.model_validate({"limits": {"neurons": 1}, **chosen})
        return check_budget(counted, PROFILE, limits).findings[0].value

    assert (neurons(side="transmitter"), neurons(side="receiver")) == (16, 52)
    assert (neurons(place="chip"), neurons(side="receiver", place="host")) == (36, 32)


def test_over_the_limit_names_the_layers_that_use_most(run: Path) -> None:
    limits = Budget.model_validate({"over": "mean", "limits": {"synops_per_inference": 10, "neurons": 500}})
    over, fine = check_budget(count([run]).systems, PROFILE, limits).findings
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
    for finding in check_budget(count([run]).systems, PROFILE, limits).findings:
        assert finding.culprits
        for culprit in finding.culprits:
            assert culprit.value == pytest.approx(culprit.share * finding.value)
        assert sum(culprit.share for culprit in finding.culprits) <= 1 + 1e-9


BAD = [
    ("limits = ", "not valid TOML"),
    ("over = 'mean'", "limits"),
    ("[limits]", "limits"),
    ("[limits]\nsynopses = 3", "synopses"),
    ("[limits]\nneurons = -1", "neurons"),
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
    energy = budget(tmp_path, "[limits]\nenergy_uj = 5")
    (tmp_path / "old.json").write_text('{"schema_version": 1}')
    cases: list[tuple[dict[str, object], type[UserError], str]] = [
        ({}, ConfigError, "nothing to check against"),
        ({"budget": tmp_path / "none.toml"}, ConfigError, "none.toml"),
        ({"budget": energy, "profile": "odin"}, ConfigError, "no price"),
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
def test_limits_on_what_an_onnx_graph_does_not_tell_are_refused(
    tmp_path: Path, nodes: list[Any], quantity: str, told: bool
) -> None:
    constants = {"w": weights(4, 5), "v": weights(5, 3), "limit": np.float32(0)}
    onnx_graph(tmp_path / "net.onnx", nodes, constants, 4, 3)
    write_recording(tmp_path / "inputs.npz", reals(4))
    limits = Budget.model_validate({"limits": {quantity: 5, "synops_per_inference": 1e9}})
    options = {"budget": limits, "inputs": tmp_path / "inputs.npz"}
    if told:
        assert check(tmp_path / "net.onnx", **options).passed
        return
    with pytest.raises(ConfigError, match=r"net.onnx: holds ONNX graphs \(net\), which do not tell their"):
        check(tmp_path / "net.onnx", **options)


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
    with pytest.raises(
        ConfigError, match="profile loihi: has no price for neuron_updates of net/fired, spikes of"
    ):
        check(tmp_path / "net.onnx", baseline=chip, target="none", **named)


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
    with pytest.raises(ConfigError, match="no price for products of net2/scale0"):
        check(graph(2), baseline=before, tolerance=10, **named)
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
    with pytest.raises(ConfigError, match="--tolerance"):
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
    as_json = shell("energy", "check", run, "--budget", tight, "--format", "json")
    assert json.loads(as_json.stdout)["findings"][0]["passed"] is False
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
    suite = ET.fromstring(check_budget((named,), PROFILE, limits).as_junit())  # noqa: S314 (our own)
    case = suite.find(".//testcase")
    assert case is not None
    assert case.get("classname", "").startswith("energy.system")
    assert "weights" in (case.findtext("failure") or "")


def test_annotations_keep_to_one_line_each(run: Path) -> None:
    limits = Budget.model_validate({"limits": {"neurons": 1, "synops_per_inference": 1}})
    lines = check_budget(count([run]).systems, PROFILE, limits).as_github().splitlines()
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
