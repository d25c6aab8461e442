"""Outputs that a framework recorded, as one side of a comparison."""

import warnings
from pathlib import Path

import nir
import numpy as np
import pytest

from nsc_deploy.cli.app import app
from nsc_deploy.cli.exit_codes import run_to_exit_code
from nsc_deploy.errors import ConfigError
from nsc_deploy.exporters.manifest import VerificationRecord
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.network import Network, Signal
from nsc_deploy.graphs.readout import with_readout
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.verification.compare import compare_runs
from nsc_deploy.verification.limits import Limits, findings
from nsc_deploy.verification.output import verdicts
from nsc_deploy.verification.recorded import RecordedRunner
from nsc_deploy.verification.runner import ReferenceRunner

EVENTS = np.random.default_rng(2).integers(0, 2, (20, 7, 4)).astype(np.uint8)


def network(*, weight: float = 0.5, spiking: bool = True) -> Network:
    build = GraphBuilder(dt=1e-3)
    build.input(4, Signal.EVENTS)
    build.linear("dense", np.linspace(weight / 2, weight, 12).reshape(3, 4))
    if spiking:
        build.lif("cells", 0.5, 1.0, 3)
    else:
        ones = np.ones(3)
        build.add("cells", nir.LI(tau=4e-3 * ones, r=ones, v_leak=0 * ones))
    build.output(3)
    return assemble(build.build())


def tool(*words: object) -> int:
    return run_to_exit_code(lambda: app([str(word) for word in words], prog_name="nsc-deploy"))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    graph = network()
    write_network(tmp_path / "it.nir", graph)
    outputs = simulate(graph, EVENTS).output
    np.savez(tmp_path / "right.npz", x=EVENTS, y=outputs.astype(np.float64))
    wrong = outputs.copy()
    wrong[3, 5, 1] = 1 - wrong[3, 5, 1]
    np.save(tmp_path / "wrong.npy", wrong)
    return tmp_path


@pytest.mark.parametrize("samples", [None, 3])
def test_a_framework_s_own_outputs_are_a_side(files: Path, samples: int | None) -> None:
    words = ["verify", files / "it.nir", "--inputs", files / "right.npz", "--exact"]
    words += [] if samples is None else ["--samples", str(samples)]
    assert tool(*words, "--against", files / "right.npz") == 0


def test_where_they_part_is_said(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("verify", files / "it.nir", "--inputs", files / "right.npz", "--exact")
    assert tool(*words, "--against", files / "wrong.npy") == 1
    assert "first divergence: sample 5, step 3, layer output, neuron 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda y: y * 2.0, "at most once a step"),
        (lambda y: y[:, :, :2], "the graph gives"),
        (lambda y: y[:, :4], "holds 4 samples, and 7 enter"),
        (lambda y: np.concatenate([y, y], axis=1), "holds 14 samples, and 7 enter"),
        (lambda y: y[:0], "the graph gives"),
        (lambda y: y[:5], "holds 5 steps"),
        (lambda y: y[0], "the graph gives"),
    ],
)
def test_outputs_of_another_network_are_named(
    files: Path, capsys: pytest.CaptureFixture[str], change, problem: str
) -> None:
    np.save(files / "other.npy", change(simulate(network(), EVENTS).output))
    words = ("verify", files / "it.nir", "--inputs", files / "right.npz")
    assert tool(*words, "--against", files / "other.npy") == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nonsense", "loihi1", "c"])
def test_no_backend_is_offered_that_cannot_run(
    files: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("verify", files / "it.nir", "--inputs", files / "right.npz")
    assert tool(*words, "--against", name) == 2
    hint = " ".join(capsys.readouterr().err.split())
    assert f"there is no backend '{name}'" in hint
    assert "recorded outputs (.npz, .npy)" in hint
    offered = hint.partition("Choose one of: ")[2].partition(";")[0].split(", ")
    assert {"reference", "emulator", "host", "onnx"} <= set(offered)
    assert not {"loihi1", "c"} & set(offered)


def test_outputs_beyond_float32_are_refused_without_a_warning(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = network(spiking=False)
    write_network(files / "real.nir", graph)
    np.save(files / "large.npy", np.full(simulate(graph, EVENTS).output.shape, 1e300))
    words = ("verify", files / "real.nir", "--inputs", files / "right.npz")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tool(*words, "--against", files / "large.npy") == 2
    assert "gave NaN or infinity among its outputs" in capsys.readouterr().err


LIMITS = {"min_coincidence": 0.99, "min_rate_cosine": 0.99, "exact": True}


def test_silence_on_both_sides_keeps_no_limit(tmp_path: Path) -> None:
    quiet = network(weight=0.01)
    np.save(tmp_path / "silence.npy", np.zeros((20, 7, 3)))
    runner = RecordedRunner(tmp_path / "silence.npy", quiet, EVENTS.shape[1])
    found = compare_runs(quiet, runner, ReferenceRunner(quiet), EVENTS)
    assert found.output.silent
    assert verdicts(found) == ["no output fires on either side: silence is no agreement"]
    judged = findings(found, Limits(**LIMITS))
    assert [finding.met for finding in judged] == [False] * 3
    assert all("nothing to judge by" in finding.note for finding in judged)
    allowed = findings(found, Limits(**LIMITS, allow_silence=True))
    assert [finding.met for finding in allowed] == [True] * 3


def test_real_outputs_that_are_all_0_keep_no_limit(tmp_path: Path) -> None:
    """A silent network in front of integrators, whose decisions are all class 0."""
    quiet = network(weight=0.0, spiking=False)
    np.save(tmp_path / "nothing.npy", np.zeros((20, 7, 3)))
    runner = RecordedRunner(tmp_path / "nothing.npy", quiet, EVENTS.shape[1])
    found = compare_runs(quiet, runner, ReferenceRunner(quiet), EVENTS)
    assert verdicts(found) == ["every output is 0 on either side: silence is no agreement"]
    [judged] = findings(found, Limits(exact=True))
    assert not judged.met
    assert judged.note == "every output is 0, so there is nothing to judge by (--allow-silence)"
    assert findings(found, Limits(exact=True, allow_silence=True))[0].met
    record = VerificationRecord.of(found, backend="it")
    assert record.sentence.endswith("every output is 0 on either side, which says nothing of it")


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (0.0, "every output is equal"),
        (3e-7, "outputs are equal within"),
        (0.1, "outputs differ by up to 0.1"),
    ],
)
def test_real_outputs_have_a_verdict_of_their_own(tmp_path: Path, error: float, verdict: str) -> None:
    graph = network(spiking=False)
    outputs = simulate(graph, EVENTS).output.astype(np.float64)
    outputs[-1, 0, 0] += error
    np.save(tmp_path / "outputs.npy", outputs)
    found = compare_runs(
        graph,
        RecordedRunner(tmp_path / "outputs.npy", graph, EVENTS.shape[1]),
        ReferenceRunner(graph),
        EVENTS,
    )
    assert verdicts(found)[0].startswith(verdict)
    (exact,) = findings(found, Limits(exact=True))
    assert exact.met is found.output.equal
    assert exact.met or "every spike is, outputs differ by up to" in exact.note


def potentials_of_spikes() -> Network:
    build = GraphBuilder(dt=1e-3)
    build.input(4, Signal.EVENTS)
    build.linear("dense", np.full((3, 4), 0.5))
    build.lif("cells", 0.5, 1.0, 3)
    ones = np.ones(3)
    build.add("sums", nir.LI(tau=4e-3 * ones, r=ones, v_leak=0 * ones))
    build.output(3)
    return assemble(build.build())


@pytest.mark.parametrize(
    ("graph", "hint", "instead"),
    [
        (network(), "--min-coincidence", Limits(min_coincidence=0.5)),
        (potentials_of_spikes(), "limit --max-rmse", Limits(max_rmse=0.5)),
        (network(spiking=False), "limit --max-rmse", Limits(max_rmse=0)),
    ],
)
def test_a_hint_names_a_limit_that_there_is_a_figure_for(graph: Network, hint: str, instead: Limits) -> None:
    found = compare_runs(graph, ReferenceRunner(graph), ReferenceRunner(graph), EVENTS)
    for limits in (Limits(min_agreement=0.9), Limits(max_accuracy_drop=1)):
        with pytest.raises(ConfigError) as caught:
            findings(found, limits)
        assert hint in (caught.value.hint or "")
    assert all(one.met for one in findings(found, instead))
    decided = with_readout(graph, 3)
    again = compare_runs(decided, ReferenceRunner(decided), ReferenceRunner(decided), EVENTS)
    (agreement,) = findings(again, Limits(min_agreement=0.9))
    assert agreement.met
