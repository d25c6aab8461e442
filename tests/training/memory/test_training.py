import json
import shutil

import pytest
import torch

from nsc_deploy.config.memory import MemoryExperiment
from nsc_deploy.data.corpora import load_corpus
from nsc_deploy.deployment import read_deployment
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.experiment_file import FILE_NAME, load_experiment, write_experiment
from nsc_deploy.io.files import sha256
from nsc_deploy.training.checkpoints import BEST, DIRECTORY, read_tensors, write_tensors
from nsc_deploy.training.memory.evaluate import evaluate_at
from nsc_deploy.training.memory.rounds import under
from nsc_deploy.training.memory.training import (
    CODEC,
    JOINT,
    SEMANTIC,
    MemoryTraining,
    finished_mem_deepsc,
    finished_memory_system,
)
from nsc_deploy.training.run import train
from nsc_deploy.training.run_directory import read_experiment, read_provenance

SMALL = {
    "system.name": "mem-deepsc",
    "system.width": 16,
    "system.heads": 2,
    "system.hidden": 32,
    "system.memory": 8,
    "system.encoder_steps": 1,
    "system.decoder_steps": 2,
    "data.dataset": "toy-stories",
    "data.questions": 200,
    "training.semantic_steps": 6,
    "training.batch_size": 16,
    "training.round": 2,
    "training.validate_every": 2,
    "training.validate_on": 10,
}


OF_MEM_DEEPSC = {"system.symbols": 16, "training.codec_steps": 20, "training.joint_steps": 4}
OF_A_MASK = {"system.least_symbols": 8}
OF_AN_IMPORTANCE_MASK = {"training.mask_steps": 2}


def small(**changes):
    """An experiment that is trained in seconds; of each size that its system has use for there is little."""
    wanted = {name.replace("__", "."): value for name, value in changes.items()}
    sizes = dict(SMALL)
    if wanted.get("system.name", "mem-deepsc") == "mem-deepsc":
        sizes |= OF_MEM_DEEPSC
    if "system.mask" in wanted:
        sizes |= OF_A_MASK
    if wanted.get("system.mask") == "importance":
        sizes |= OF_AN_IMPORTANCE_MASK
    return load_experiment(None, sizes | wanted)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("memory") / "run"
    return train(small(), out, progress=False)


def test_a_run_holds_its_metrics_and_weights(run):
    assert isinstance(run.experiment, MemoryExperiment)
    metrics = run.metrics
    assert [stage.name for stage in metrics.stages] == ["semantic", "codec", "joint"]
    assert metrics.tasks.keys() == {"1", "2"}
    assert metrics.test_accuracy == pytest.approx(sum(metrics.tasks.values()) / 2)
    told = json.loads((run.run / "metrics.json").read_text())
    assert told["symbols"] == 16
    corpus = load_corpus(run.experiment.data)
    system = finished_memory_system(run.experiment, corpus, run.run)
    point = evaluate_at(system, corpus, corpus.test, 10.0)
    assert point == evaluate_at(system, corpus, corpus.test, 10.0)
    assert system.air.channel.snr_to_db == 18


def test_resuming_a_finished_run_trains_nothing(run):
    assert train(run.experiment, run.run, resume=True, progress=False).metrics == run.metrics


def test_a_run_killed_between_steps_ends_the_same(run, tmp_path):
    out = tmp_path / "run"
    train(small(), out, progress=False)
    for name in ("metrics.json", "checkpoints/joint.safetensors", "checkpoints/best.safetensors"):
        (out / name).unlink()
    again = train(small(), out, resume=True, progress=False)
    assert again.metrics.model_copy(update={"stages": (), "training_seconds": 0}) == run.metrics.model_copy(
        update={"stages": (), "training_seconds": 0}
    )


@pytest.mark.parametrize(
    ("changes", "symbols"),
    [
        # Eq. 15 solved for the SNR from which 8, 9, ... 15 symbols do, over an even range of -6 to 18 dB.
        ({"system__mask": "importance"}, pytest.approx(11.0509, abs=0.01)),
        ({"system__codec": "spiking", "channel__kind": "rician", "channel__knowledge": "pilot"}, 16),
        ({"system__codec": "spiking-transmitter"}, 16),
        ({"system__mask": "random", "channel__snr_db": 18.0, "channel__snr_to_db": None}, 9),
    ],
)
def test_variants_start_from_the_semantic_codec_of_another_run(run, tmp_path, changes, symbols):
    started = train(small(training__start_from=str(run.run), **changes), tmp_path / "run", progress=False)
    assert started.metrics.stages[0].steps == 0
    of_step_1, _ = read_tensors(run.run / DIRECTORY / SEMANTIC)
    begun_with, _ = read_tensors(started.run / DIRECTORY / SEMANTIC)
    for name, weights in under(begun_with, "weights.").items():
        torch.testing.assert_close(weights, of_step_1[f"weights.{name}"], atol=0, rtol=0)
    assert started.metrics.symbols == symbols
    # Eq. 15 asks for all 16 symbols below -2.146 dB: there is nothing to tell of them. Above, 48 coded bits
    # go as BPSK up to -0.4 dB, as QPSK to 4.5 dB and then as 16-QAM.
    told = (48 * (2.146 - 0.4) + 24 * (4.5 + 0.4) + 12 * (18 - 4.5)) / 24
    told = told if changes.get("system__mask") == "importance" else 0
    assert started.metrics.position_symbols == pytest.approx(told, abs=0.1)
    assert ("for positions" in started.metrics.rows["symbols a sentence"]) == (told > 0)
    assert read_deployment(started.run).channel.uses_per_step == round(started.metrics.symbols + told)


def test_an_importance_mask_is_learnt_behind_a_system_that_met_none(run, tmp_path):
    masked = train(small(system__mask="importance"), tmp_path / "run", progress=False)
    assert [stage.name for stage in masked.metrics.stages] == ["semantic", "codec", "joint", "mask"]
    without, _ = read_tensors(run.run / DIRECTORY / BEST)
    behind, _ = read_tensors(masked.run / DIRECTORY / BEST)
    for name, weights in without.items():
        torch.testing.assert_close(behind[name], weights, atol=0, rtol=0)
    importance = {name for name in behind if name not in without}
    assert importance == {name for name in behind if name.startswith("importance.")} != set()


@pytest.mark.parametrize("name", ["utf8-turbo", "word-turbo", "sentence-turbo"])
def test_rivals_need_no_training_but_that_of_the_codec(run, tmp_path, name):
    experiment = small(system__name=name, system__modulation="amc", training__start_from=str(run.run))
    rival = train(experiment, tmp_path / "run", progress=False)
    assert [stage.name for stage in rival.metrics.stages] == ["semantic"]
    of_step_1, _ = read_tensors(run.run / DIRECTORY / SEMANTIC)
    own, _ = read_tensors(rival.run / DIRECTORY / BEST)
    for part, weights in under(of_step_1, "weights.").items():
        torch.testing.assert_close(own[f"semantic.{part}"], weights, atol=0, rtol=0)
    corpus = load_corpus(experiment.data)
    system = finished_memory_system(experiment, corpus, rival.run)
    point = evaluate_at(system, corpus, corpus.test, 30.0)
    assert point.accuracy == pytest.approx(rival.metrics.without_channel)
    assert point.symbols.blocks == pytest.approx(195, abs=30)


def test_a_start_of_other_sizes_is_refused(run, tmp_path):
    with pytest.raises(ConfigError, match=r"another kind \(different: hidden\)"):
        train(small(training__start_from=str(run.run), system__hidden=64), tmp_path / "run", progress=False)


def test_a_run_is_not_overwritten_that_the_new_one_would_start_from(run, tmp_path):
    own = shutil.copytree(run.run, tmp_path / "own")
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=r"own: is the run that training\.start_from names"):
        train(small(training__start_from=str(own)), own, overwrite=True, progress=False)
    assert {path: path.read_bytes() for path in own.rglob("*") if path.is_file()} == before


def test_where_the_stories_lie_makes_no_difference_to_a_start(run, tmp_path):
    start = shutil.copytree(run.run, tmp_path / "start")
    of_babi = {"data__dataset": "babi", "data__questions": 1000}
    write_experiment(start / FILE_NAME, small(**of_babi))
    of_babi["training__start_from"] = str(start)
    MemoryTraining(small(**of_babi, data__path=str(tmp_path))).check(tmp_path / "run", resume=False)
    with pytest.raises(ConfigError, match=r"another kind \(different: data\)"):
        MemoryTraining(small(**of_babi, data__size="en")).check(tmp_path / "run", resume=False)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"system__mask": "consecutive", "system__least_symbols": 17}, "is more than the 16"),
        ({"system__mask": "random", "system__codec": "spiking"}, "only used by mem-deepsc with a dense"),
        ({"system__name": "utf8-turbo", "system__codec": "spiking"}, "codec: is only used by mem-deepsc"),
        ({"system__least_symbols": 8}, "least_symbols: is only used with a mask"),
        ({"system__name": "utf8-turbo", "system__least_symbols": 8}, "only used with a mask"),
        ({"system__modulation": "amc"}, "modulation: is only used by systems that send text"),
        ({"system__levels": 4}, "only used by mem-deepsc with a spiking"),
        ({"system__name": "utf8-turbo", "system__symbols": 16}, "symbols: is only used by mem-deepsc"),
        *(
            (
                {"system__name": "word-turbo", f"training__{field}": value},
                f"{field} means nothing to word-turbo",
            )
            for field, value in (
                ("hold_out", 0.2),
                ("freeze_encoder", True),
                ("codec_steps", 20),
                ("codec_rate", 1e-3),
                ("joint_steps", 0),
                ("joint_rate", 1e-3),
                ("mask_steps", 2),
                ("mask_rate", 1e-3),
            )
        ),
        (
            {"system__codec": "spiking-transmitter", "training__freeze_encoder": True},
            r"training\.freeze_encoder means nothing to a spiking transmitter",
        ),
        ({"training__mask_steps": 2}, r"training\.mask_steps means nothing without an importance mask"),
        ({"system__mask": "random", "training__mask_rate": 0.1}, "mask_rate means nothing without"),
        ({"training__freeze_encoder": True, "training__joint_steps": 0}, "is about step 3, of which"),
        ({"training__joint_rate": 0.1, "training__joint_steps": 0}, "joint_rate: is about step 3, of which"),
        ({"channel__rician_k": 5.0}, "rician_k: means nothing to awgn"),
        ({"channel__kind": "rayleigh", "channel__rician_k": 5.0}, "rician_k: means nothing to rayleigh"),
        ({"data__path": "/nowhere"}, "path: means nothing to toy-stories"),
        ({"data__tasks": [3]}, "tasks: means nothing to toy-stories"),
        ({"data__size": "en"}, "size: means nothing to toy-stories"),
        ({"data__dataset": "babi"}, "questions: means nothing to babi"),
        ({"system__heads": 3}, "heads: must divide system.width"),
        ({"channel__snr_to_db": -7.0}, "is not above"),
        ({"channel__snr_db": 20.0}, "is not above"),
        ({"data__tasks": [21]}, "20"),
        (
            {"data__dataset": "babi", "data__questions": 1000, "data__tasks": [2, 1, 2]},
            "name task 2 twice",
        ),
        ({"data__tasks": []}, "tasks"),
    ],
)
def test_experiments_that_cannot_be_are_refused(changes, problem):
    with pytest.raises(ConfigError, match=problem):
        small(**changes)


def test_a_run_goes_on_where_the_one_that_it_started_from_is_gone(run, tmp_path):
    start = shutil.copytree(run.run, tmp_path / "start")
    out = tmp_path / "run"
    whole = train(small(training__start_from=str(start)), out, progress=False)
    for name in ("metrics.json", "checkpoints/joint.safetensors", "checkpoints/best.safetensors"):
        (out / name).unlink()
    shutil.rmtree(start)
    again = train(whole.experiment, out, resume=True, progress=False)
    assert again.metrics.tasks == whole.metrics.tasks


def test_a_run_that_took_no_codec_over_yet_does_not_begin_with_another(run, tmp_path):
    start = shutil.copytree(run.run, tmp_path / "start")
    experiment, out = small(training__start_from=str(start)), tmp_path / "run"
    train(experiment, out, progress=False)
    assert read_provenance(out).start_sha256 == sha256(start / DIRECTORY / SEMANTIC)
    for path in (out / "metrics.json", *(out / DIRECTORY).iterdir()):
        path.unlink()
    (start / DIRECTORY / BEST).unlink()  # This one is not read.
    whole = (start / DIRECTORY / SEMANTIC).read_bytes()
    tensors, note = read_tensors(start / DIRECTORY / SEMANTIC)
    write_tensors(start / DIRECTORY / SEMANTIC, {name: one + 1 for name, one in tensors.items()}, note)
    with pytest.raises(DataError, match=r"start: has other weights than .*run began with"):
        train(experiment, out, resume=True, progress=False)
    (start / DIRECTORY / SEMANTIC).write_bytes(whole)
    assert train(experiment, out, resume=True, progress=False).metrics.stages[0].steps == 0


@pytest.mark.parametrize(("name", "other"), [(BEST, CODEC), (CODEC, SEMANTIC), (JOINT, CODEC)])
def test_a_file_of_another_step_in_the_place_of_one_is_refused(run, tmp_path, name, other):
    again = tmp_path / "run"
    shutil.copytree(run.run, again)
    shutil.copyfile(again / DIRECTORY / other, again / DIRECTORY / name)
    (again / "metrics.json").unlink()
    with pytest.raises(DataError, match=f"{name}: holds the state of another system"):
        if name == BEST:
            finished_mem_deepsc(run.experiment, again)
        else:
            train(run.experiment, again, resume=True, progress=False)


@pytest.mark.parametrize("snr_db", [3.0, 18.0, 20.0])
def test_a_run_at_one_snr_is_one_at_that_snr_when_it_is_read_again(tmp_path, snr_db):
    """TOML has no null: what was not set came back as the default, 18 dB, or could not be read at all."""
    alone = small(channel__snr_db=snr_db, channel__snr_to_db=None)
    done = train(alone, tmp_path / "run", progress=False)
    assert (done.metrics.snr_db, done.metrics.snr_to_db) == (snr_db, None)
    again = read_experiment(done.run)
    assert again == alone
    corpus = load_corpus(again.data)
    assert finished_memory_system(again, corpus, done.run).air.channel.snr_ends_db == (snr_db, snr_db)
    assert read_deployment(done.run).channel.snr_to_db is None
    assert train(alone, done.run, resume=True, progress=False).metrics == done.metrics


@pytest.mark.parametrize(
    "change",
    [
        lambda words, answers, longest: [words, answers, 10**7],  # takes gigabytes for the codes of places
        lambda words, answers, longest: [words, answers, 0],
        lambda words, answers, longest: [words, answers, str(longest)],
        lambda words, answers, longest: [list(range(len(words))), answers, longest],
        lambda words, answers, longest: [[words[0]] * len(words), answers, longest],
        lambda words, answers, longest: [words, [*answers[1:], "\x1b[31mred"], longest],
        lambda words, answers, longest: [words, [*answers[1:], None], longest],
        lambda words, answers, longest: {"words": words},
    ],
)
def test_words_that_somebody_else_wrote_are_looked_at_before_they_are_used(run, tmp_path, change):
    other = shutil.copytree(run.run, tmp_path / "run")
    tensors, known = read_tensors(other / DIRECTORY / BEST)
    write_tensors(other / DIRECTORY / BEST, tensors, change(*known))
    with pytest.raises(DataError, match="holds the state of another system"):
        finished_mem_deepsc(run.experiment, other)
