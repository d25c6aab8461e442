"""Fine-tuning with rounded weights: what is trained is what an export writes."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.cli.app import app
from nsc_deploy.cli.exit_codes import run_to_exit_code
from nsc_deploy.data import load_events
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.experiment_file import load_experiment, write_experiment
from nsc_deploy.exporters.lava.integers import Role
from nsc_deploy.exporters.lava.lowering.extract import ExtractPopulations
from nsc_deploy.exporters.lava.lowering.pipeline import lower
from nsc_deploy.graphs.dyadic import most_steps, on_row_grids, snap
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.io.files import sha256
from nsc_deploy.models.system import round_decays, round_weights, rounded_parameters
from nsc_deploy.passes.base import run_passes
from nsc_deploy.training.checkpoints import read_tensors, write_tensors
from nsc_deploy.training.fit import training_and_validation
from nsc_deploy.training.record import TrainingRecord
from nsc_deploy.training.run import RunResult, train
from nsc_deploy.training.run_directory import claim, provenance, read_provenance
from nsc_deploy.training.sparsity import cut_share
from nsc_deploy.training.start import fine_tuning, new_system

Make = Callable[..., dict[str, object]]
BITS = 3


@pytest.fixture(scope="module")
def origin(small_experiment: Make, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    overrides = small_experiment(system__name="att-neurosc", training__epochs=4, training__seed=3)
    return train(load_experiment(None, overrides), tmp_path_factory.mktemp("runs") / "origin", progress=False)


@pytest.fixture(scope="module")
def tuned(origin: RunResult, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    changes = fine_tuning(origin.run) | {
        "training.epochs": 3,
        "quantisation.target": "lava",
        "quantisation.bits": BITS,
    }
    experiment = load_experiment(origin.run / "experiment.toml", changes)
    return train(experiment, tmp_path_factory.mktemp("runs") / "tuned", progress=False)


def command(*arguments: object) -> int:
    return run_to_exit_code(lambda: app([*map(str, arguments)], prog_name="nsc-deploy"))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 8))
def test_rounded_rows_are_few_multiples_of_a_step_and_sum_exactly(seed: int, bits: int) -> None:
    chance = np.random.default_rng(seed)
    weight = chance.normal(0, 10.0 ** chance.uniform(-3, 1, (6, 1)), (6, 20)).astype(np.float32)
    bias = chance.normal(0, 0.3, 6).astype(np.float32)
    rounded = on_row_grids(weight, bits, bias)
    np.testing.assert_array_equal(snap(rounded, bias).weight, rounded)
    for row, before in zip(rounded, weight, strict=True):
        fine = np.rint(row.astype(np.float64) * 2.0**24).astype(np.int64)
        np.testing.assert_array_equal(fine * 2.0**-24, row)
        step = np.gcd.reduce(fine)
        assert np.abs(fine).max() <= most_steps(bits) * max(step, 1)
        plain = np.abs(before).max() / most_steps(bits)
        error = np.sqrt(((row - before) ** 2).sum())
        grid = snap(weight, bias).bits
        assert error <= np.sqrt(20) * (plain / 2 + most_steps(bits) * 2.0 ** (3 - grid))


def test_nothing_is_rounded_to_nothing() -> None:
    assert on_row_grids(np.zeros((2, 3)), 4).tolist() == [[0] * 3] * 2


def test_the_gradient_is_that_of_the_rounded_weights(origin: RunResult) -> None:
    data = load_events(origin.experiment.data)
    events = torch.from_numpy(data.train.events[:6]).transpose(0, 1).float()

    def gradients(rounded_for_good: bool) -> dict[str, torch.Tensor]:
        system = new_system(origin.experiment, data)
        if rounded_for_good:
            round_weights(system, BITS)
            output = system(events, torch.Generator().manual_seed(1))
        else:
            values = rounded_parameters(system, BITS)
            output = torch.func.functional_call(system, values, (events, torch.Generator().manual_seed(1)))
        output.votes.square().sum().backward()
        return {name: value.grad for name, value in system.named_parameters() if value.grad is not None}

    wanted, got = gradients(True), gradients(False)
    assert wanted.keys() == got.keys()
    assert any(value.abs().sum() > 0 for value in wanted.values())
    for name, value in wanted.items():
        assert torch.equal(value, got[name]), name


def test_everything_a_chip_holds_is_rounded_and_nothing_else(origin: RunResult) -> None:
    system = new_system(origin.experiment, load_events(origin.experiment.data))
    before = {name: value.clone() for name, value in system.state_dict().items()}
    round_weights(system, BITS)
    round_decays(system)
    changed = {name for name, value in system.state_dict().items() if not torch.equal(value, before[name])}
    held = {name for name in before if "_stages.0" in name or "receiver._stages.1" in name}
    untouched = {name for name in held if name.endswith(("bias", "threshold"))}
    front_end = {name for name in before if name.endswith("scaled_level")}
    assert changed <= held - untouched - front_end
    assert {name for name in changed if name.endswith("weight")} == {
        name for name in held - front_end if name.endswith("weight")
    }
    for name, value in system.state_dict().items():
        if name.endswith("beta"):
            assert torch.equal((value * 4096).round() / 4096, value), name


def test_an_export_takes_the_trained_weights_over_as_they_are(tuned: RunResult) -> None:
    for part in ("transmitter", "receiver"):
        network = read_network(tuned.run / f"{part}.nir")
        graph = run_passes(network, [ExtractPopulations()]).graph
        lowering = lower(network, bits=BITS)
        wanted = {one.name: one for one in graph.populations}
        for layer in lowering.network.layers:
            for group in layer.groups:
                if group.role is not Role.NEURON:
                    continue
                integers = layer.weight.of_targets(group.rows)
                real = integers.values / np.broadcast_to(np.asarray(group.scale), group.size)[integers.target]
                drive = np.concatenate([one.values for one in wanted[group.node].drive.values()])
                np.testing.assert_allclose(np.sort(real), np.sort(drive), rtol=1e-12)
        kinds = {note.kind for _, note in lowering.notes}
        assert not kinds & {"weight-rounding", "saturation", "underflow", "decay-rounding"}


def test_a_tuned_run_says_where_it_comes_from(origin: RunResult, tuned: RunResult) -> None:
    experiment = load_experiment(tuned.run / "experiment.toml")
    assert experiment.training.start_from == str(origin.run.resolve())
    assert (experiment.quantisation.target, experiment.quantisation.bits) == ("lava", BITS)
    assert experiment.system == origin.experiment.system
    provenance = json.loads((tuned.run / "provenance.json").read_text())
    assert provenance["start_sha256"] == sha256(origin.run / "checkpoints" / "best.safetensors")
    assert json.loads((origin.run / "provenance.json").read_text())["start_sha256"] is None


def test_it_begins_with_what_the_other_run_had_learnt(origin: RunResult, tmp_path: Path) -> None:
    changes = fine_tuning(origin.run) | {"training.epochs": 1, "training.learning_rate": 1e-12}
    again = train(
        load_experiment(origin.run / "experiment.toml", changes), tmp_path / "again", progress=False
    )
    assert again.metrics.test_accuracy == origin.metrics.test_accuracy


def validation_samples(run: Path) -> set[bytes]:
    experiment = load_experiment(run / "experiment.toml")
    part = training_and_validation(load_events(experiment.data), experiment)[1]
    return set() if part is None else {one.tobytes() for one in part.events}


@pytest.mark.parametrize(
    "options", [["--seed", "5"], ["--validation-fraction", "0.05"], ["--validation-fraction", "0"]]
)
def test_nothing_that_was_trained_on_judges(origin: RunResult, tmp_path: Path, options: list[str]) -> None:
    out = tmp_path / "run"
    assert command("train", "--from", origin.run, *options, "--epochs", 1, "--quiet", "--out", out) == 0
    kept = validation_samples(out)
    assert kept <= validation_samples(origin.run)
    assert bool(kept) == (options[1] != "0")
    if options[1] != "0":  # and so on, from run to run
        asked = ["--from", out, "--validation-fraction", "0.1", "--seed", "6", "--out", tmp_path / "next"]
        assert command("train", *asked, "--epochs", 1, "--quiet") == (2 if "0.05" in options else 0)


def test_a_run_without_validation_or_on_other_samples_is_refused(
    origin: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / "whole"
    asked = ["--from", origin.run, "--validation-fraction", "0", "--epochs", "1", "--quiet"]
    assert command("train", *asked, "--out", whole) == 0
    again = ["--from", whole, "--validation-fraction", "0.1", "--out", tmp_path / "run"]
    assert command("train", *again) == 2
    assert "trained on samples of the validation part (it kept none apart)" in capsys.readouterr().err
    provenance = json.loads((whole / "provenance.json").read_text())
    (whole / "provenance.json").write_text(json.dumps(provenance | {"data_sha256": "0" * 64}))
    assert command("train", "--from", whole, "--out", tmp_path / "run") == 2
    assert "other samples than the data set holds now" in capsys.readouterr().err
    assert not (tmp_path / "run" / "experiment.toml").exists()


def test_an_interrupted_fine_tuning_ends_with_the_same_weights(
    tuned: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: TrainingRecord, trainer: object, module: object) -> None:
        if len(self.epochs) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrainingRecord, "on_train_epoch_start", interrupt)
        train(tuned.experiment, tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "metrics.json").exists()
    again = train(tuned.experiment, tmp_path / "run", resume=True, progress=False)
    one, two = (read_tensors(result.run / "checkpoints" / "last.safetensors")[0] for result in (again, tuned))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert again.metrics.test_accuracy == tuned.metrics.test_accuracy


def test_what_a_run_has_cut_does_not_grow_back(origin: RunResult, tmp_path: Path) -> None:
    run = shutil.copytree(origin.run, tmp_path / "pruned")
    pruned = load_experiment(run / "experiment.toml", {"training.sparsity": 0.75})
    write_experiment(run / "experiment.toml", pruned)
    going_on = load_experiment(run / "experiment.toml", fine_tuning(run)).training
    assert [cut_share(going_on, epoch) for epoch in range(going_on.epochs)] == [0.75] * going_on.epochs


def test_the_command(origin: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    asked = ["--quantise", "lava", "--bits", 2, "--from", origin.run, "--out", out, "--epochs", 1, "--quiet"]
    assert command("train", *asked) == 0
    first = (out / "checkpoints" / "best.safetensors").read_bytes()
    assert command("train", "--resume", *asked) == 0
    assert command("train", "--resume", "--out", out, "--quiet") == 0
    assert (out / "checkpoints" / "best.safetensors").read_bytes() == first
    assert load_experiment(out / "experiment.toml").training.seed == 3
    assert command("evaluate", out, "--out", tmp_path) == 0


def test_a_finished_fine_tuning_is_found_where_the_run_that_it_started_from_is_gone(
    origin: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, out = shutil.copytree(origin.run, tmp_path / "first"), tmp_path / "run"
    asked = ["--from", first, "--epochs", 1, "--quiet", "--out", out]
    assert command("train", *asked) == 0
    shutil.rmtree(first)
    assert command("train", "--resume", *asked) == 0
    assert "nothing was left to train" in capsys.readouterr().err
    assert command("train", "--resume", *asked, "--epochs", 2) == 2
    assert "another experiment (different: training.epochs)" in capsys.readouterr().err
    assert command("train", "--resume", "--from", tmp_path / "other", "--quiet", "--out", out) == 2


def test_a_run_that_has_only_begun_does_not_go_on_from_other_weights(
    origin: RunResult, tmp_path: Path
) -> None:
    """Killed in its first epoch it begins again, with the weights that its provenance names."""
    first, out = shutil.copytree(origin.run, tmp_path / "first"), tmp_path / "run"
    changes = fine_tuning(first) | {"training.epochs": 1}
    experiment = load_experiment(origin.run / "experiment.toml", changes)
    digest = read_provenance(origin.run).data_sha256
    claim(out, experiment, partial(provenance, digest, str(first)), resume=False, overwrite=False)
    best = first / "checkpoints" / "best.safetensors"
    whole = best.read_bytes()
    write_tensors(best, {name: weights + 1 for name, weights in read_tensors(best)[0].items()}, {})
    with pytest.raises(DataError, match=r"first: has other weights than .*run began with"):
        train(experiment, out, resume=True, progress=False)
    best.write_bytes(whole)
    assert train(experiment, out, resume=True, progress=False).metrics.epochs == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bits", "4"], "only used with"),
        (["--quantise", "lava", "--bits", "9"], "--bits"),
        (["--quantise", "lava", "--bits", "1"], "--bits"),
        (["--quantise", "loihi"], "--quantise"),
        (["--quantise", "lava", "--system", "lstm"], "nothing for a chip"),
        (["--quantise", "lava", "--receiver", "analog"], "real values"),
        (["--hidden", "48"], "different: system.hidden"),
        (["--validation-fraction", "0.3"], "Choose a --validation-fraction of 0.1 at most."),
        (["--set", "training.validation_seed=4"], "cut with another seed"),
        (["--set", "data.encoding.levels=3"], "different: data.encoding.levels"),
        (
            ["--set", "system.decay_steps=100000", "--set", "system.gate_decay_steps=2"],
            "different: system.decay",
        ),
    ],
)
def test_bad_requests_end_with_one_message_and_code_2(
    origin: RunResult,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert command("train", "--from", origin.run, *arguments, "--out", tmp_path / "run", "--quiet") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_only_a_finished_run_can_be_started_from(
    origin: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    for name in ("provenance.json", "experiment.toml"):
        (unfinished / name).write_bytes((origin.run / name).read_bytes())
    for run, message in ((unfinished, "not finished"), (tmp_path / "none", "holds no run")):
        assert command("train", "--from", run, "--out", tmp_path / "run") == 2
        assert message in capsys.readouterr().err
    path = origin.run / "experiment.toml"
    assert command("train", path, "--from", origin.run, "--out", tmp_path / "run") == 2
    assert "cannot be combined" in capsys.readouterr().err
    before = sorted(origin.run.iterdir())
    assert command("train", "--from", origin.run, "--out", origin.run, "--overwrite") == 2
    assert "is the run that --from names" in capsys.readouterr().err
    assert sorted(origin.run.iterdir()) == before


def test_the_example_measures_what_bits_cost(tuned: RunResult) -> None:
    script = Path(__file__).parents[2] / "examples" / "bits.py"
    asked = [sys.executable, script, tuned.run, "--bits", str(BITS), "8"]
    done = subprocess.run([*asked, "--json"], capture_output=True, text=True, check=True)
    few, many = json.loads(done.stdout)
    assert (few["bits"], many["bits"]) == (BITS, 8)
    for line in (few, many):
        assert line["floating_point"] == pytest.approx(tuned.metrics.test_accuracy)
        assert line["largest_loss"] == pytest.approx(100 * (line["floating_point"] - line["integers"]))
        assert line["differing_output_spikes"] < 0.1  # its weights are those of so many bits already
        assert line["equal_decisions"] > 0.9


def test_a_leak_that_rounds_to_nothing_is_refused(small_experiment: Make, tmp_path: Path) -> None:
    overrides = small_experiment(system__name="vanilla-snn", system__decay_steps=1e5)
    experiment = load_experiment(None, overrides | {"quantisation.target": "lava"})
    with pytest.raises(ConfigError, match="rounded, nothing"):
        train(experiment, tmp_path / "run", progress=False)
