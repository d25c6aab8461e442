"""Spiking halves in the integers of an export, between the host parts of a run."""

import json

import pytest
import torch

from nsc_deploy.cli.app import app
from nsc_deploy.cli.exit_codes import run_to_exit_code
from nsc_deploy.data.corpora import load_corpus
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.training.memory import integers
from nsc_deploy.training.memory.integers import IntegerReceiver, IntegerSender, in_integers
from nsc_deploy.training.memory.training import finished_memory_system
from nsc_deploy.training.run import train
from nsc_deploy.verification.runner import ReferenceRunner
from tests.training.memory.test_training import small


@pytest.fixture(scope="module", params=["spiking", "spiking-transmitter"])
def run(tmp_path_factory, request):
    out = tmp_path_factory.mktemp("memory") / "run"
    return train(small(system__codec=request.param), out, progress=False)


@pytest.fixture
def system(run):
    corpus = load_corpus(run.experiment.data)
    trained = finished_memory_system(run.experiment, corpus, run.run)
    words = torch.from_numpy(corpus.sentences)
    with torch.no_grad():
        return trained, words, trained.send(words)


def test_what_enters_and_leaves_the_chip_is_that_of_the_halves(run, system, monkeypatch):
    """With the graphs in floating point in place of the integers, the symbols and vectors are the same."""
    monkeypatch.setattr(integers, "BATCH", 7)
    trained, words, sent = system
    sender, receiver = (
        ReferenceRunner(read_network(run.run / f"{part}.nir")) for part in ("transmitter", "receiver")
    )
    read = words if trained.reads_words else trained.semantic.encoder.by_length(words)
    with torch.no_grad():
        assert torch.equal(IntegerSender(trained.jsc_encoder, sender)(read), sent)
        noisy = sent + 0.5 * torch.randn(sent.shape, generator=torch.Generator().manual_seed(0))
        found = IntegerReceiver(trained.jsc_decoder, receiver)(noisy)
        torch.testing.assert_close(found, trained.jsc_decoder(noisy))


def test_few_bits_change_what_is_sent_and_the_system_stays_as_it_was(run, system):
    trained, words, sent = system
    with torch.no_grad():
        changed = [
            (in_integers(run.run, trained, bits).send(words) != sent).float().mean() for bits in (8, 2)
        ]
        assert torch.equal(trained.send(words), sent)
    assert 0 < changed[1] < 0.6
    assert changed[0] < changed[1]


def test_evaluate_shows_the_integers_beside_the_system(run, tmp_path, capsys):
    asked = ["evaluate", run.run, "--snr", "12", "--samples", "10", "--quantise", "lava", "--bits", "8,3"]
    assert run_to_exit_code(lambda: app([*map(str, asked), "--out", str(tmp_path)])) == 0
    written = json.loads((tmp_path / "evaluation.json").read_text())
    ends = [one["system"].rpartition(", ")[2] for one in written]
    assert ends[1:] == ["8 bits", "3 bits"]
    assert ends[0] not in ends[1:]
    assert "8 bits" in capsys.readouterr().out


def test_a_run_with_nothing_for_a_chip_is_refused(tmp_path, capsys):
    dense = train(small(), tmp_path / "run", progress=False).run
    asked = ["evaluate", str(dense), "--snr", "12", "--quantise", "lava"]
    assert run_to_exit_code(lambda: app(asked)) == 2
    assert "is a run without a spiking codec" in capsys.readouterr().err
