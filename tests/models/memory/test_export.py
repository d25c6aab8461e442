import json
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from nsc_deploy.data.corpora import load_corpus
from nsc_deploy.deployment import read_deployment
from nsc_deploy.energy import estimate
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.formats.recording import read_recording
from nsc_deploy.models.memory.export import (
    STREAM_ANSWER,
    STREAM_MEMORY,
    check_streams,
    stream_graphs,
    write_memory_graphs,
)
from nsc_deploy.models.memory.semantic import SemanticCodec, SemanticSizes, push
from nsc_deploy.training.memory.training import finished_memory_system
from nsc_deploy.training.run import train
from tests.training.memory.test_training import small

SIZES = SemanticSizes(
    20, 5, memory=8, longest=5, width=16, heads=2, hidden=32, encoder_steps=1, decoder_steps=2
)


@pytest.fixture(scope="module", params=["dense", "spiking", "spiking-transmitter"])
def run(tmp_path_factory, request):
    out = tmp_path_factory.mktemp("memory") / "run"
    return train(small(system__codec=request.param), out, progress=False)


def _session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_a_run_has_four_parts_with_their_inputs(run):
    deployment = read_deployment(run.run)
    names = ["transmitter-host", "transmitter", "receiver", "receiver-host"]
    codec = run.experiment.system.codec
    assert [part.name for part in deployment.parts] == names[codec == "spiking-transmitter" :]
    on_chip = {part.name for part in deployment.parts if part.place == "chip"}
    assert on_chip == (set() if codec == "dense" else {"transmitter", "receiver"})
    assert all((run.run / part.calibration).is_file() for part in deployment.parts)
    assert deployment.channel.uses_per_step * deployment.channel.steps == 16
    recording = read_recording(run.run / "receiver-host.npz")
    assert recording.values.shape[2:] == (9, 17)
    assert json.loads((run.run / "deployment.json").read_text())["system"] == "mem-deepsc"


def test_a_stream_answers_as_the_model_does(run):
    corpus = load_corpus(run.experiment.data)
    system = finished_memory_system(run.experiment, corpus, run.run)
    memory, answer = _session(run.run / STREAM_MEMORY), _session(run.run / STREAM_ANSWER)
    vectors = torch.randn(12, 3, 16)
    queue, filled = np.zeros((3, 8, 16), np.float32), np.zeros(3, np.int64)
    expected = torch.zeros(3, 8, 16)
    for number, vector in enumerate(vectors, 1):
        queue, filled = memory.run(None, {"queue": queue, "filled": filled, "sentence": vector.numpy()})
        expected = push(expected, vector)
        np.testing.assert_array_equal(queue, expected.numpy())
        assert filled.tolist() == [min(8, number)] * 3
        question = torch.randn(3, 16)
        [scores] = answer.run(None, {"question": question.numpy(), "queue": queue, "filled": filled})
        with torch.no_grad():
            told = system.semantic.decoder(question, expected, torch.from_numpy(filled))
        np.testing.assert_allclose(scores, told.numpy(), atol=1e-4, rtol=1e-4)


def test_graphs_are_written_alike_again(run, tmp_path):
    corpus = load_corpus(run.experiment.data)
    system = finished_memory_system(run.experiment, corpus, run.run)
    write_memory_graphs(tmp_path, system, corpus, "toy-stories", run.metrics.test_accuracy, 0)
    for path in run.run.glob("*.n*"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_a_stream_that_answers_otherwise_is_not_written(run):
    """A memory that forgets the newest in place of the oldest, and an answer from other weights."""
    decoder = finished_memory_system(
        run.experiment, load_corpus(run.experiment.data), run.run
    ).semantic.decoder
    slots = torch.cat([torch.randn(4, 9, 16), torch.ones(4, 9, 1)], -1)
    graphs = stream_graphs(decoder)
    check_streams(graphs, decoder, slots)
    other = SemanticCodec(replace(SIZES, answers=len(decoder.answer.bias)), seed=5).decoder
    with pytest.raises(GraphError, match="differ from torch's"):
        check_streams(graphs, other, slots)
    # Scores of other weights are refused where all of them are small, too.
    for one in (decoder, other):
        with torch.no_grad():
            one.answer.weight.mul_(1e-5), one.answer.bias.mul_(1e-5)
    with pytest.raises(GraphError, match="differ from torch's"):
        check_streams(stream_graphs(decoder), other, slots)
    [concat] = [node for node in graphs[STREAM_MEMORY].graph.node if node.op_type == "Concat"]
    first, second = concat.input
    concat.input[:] = [second, first]
    with pytest.raises(GraphError, match="a queue that is not torch's"):
        check_streams(graphs, decoder, slots)


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    out = tmp_path_factory.mktemp("memory") / "run"
    return train(small(system__mask="importance"), out, progress=False)


def test_the_model_of_an_importance_mask_is_a_part_of_the_sender(masked):
    parts = read_deployment(masked.run).parts
    assert [(part.name, part.side) for part in parts][:4] == [
        ("transmitter-host", "transmitter"),
        ("transmitter", "transmitter"),
        ("transmitter-mask", "transmitter"),
        ("receiver", "receiver"),
    ]
    corpus = load_corpus(masked.experiment.data)
    system = finished_memory_system(masked.experiment, corpus, masked.run)
    recording = read_recording(masked.run / "transmitter-mask.npz")
    told = torch.from_numpy(recording.values[0])
    assert told.shape[1:] == (2 * 16 + 1,)
    np.testing.assert_allclose(told[:, :-1].square().sum(1), 16, rtol=1e-5)
    assert -6 <= float(told[:, -1].min()) < float(told[:, -1].max()) <= 18
    [scores] = _session(masked.run / "transmitter-mask.onnx").run(None, {"input": recording.values})
    with torch.no_grad():
        expected = system.importance(told[:, :-1].view(-1, 16, 2), told[:, -1])
    np.testing.assert_allclose(scores[0], expected, atol=1e-4, rtol=1e-4)


def test_the_products_of_a_question_are_those_of_the_layers(masked):
    """By hand: width d, places n, hidden h; a block has 4 d^2 + 2 d h a place, and attention 2 n^2 d."""

    def block(places, width, hidden):
        return places * (4 * width**2 + 2 * width * hidden) + 2 * places**2 * width

    words, slots, answers = 5, 9, 5
    # The last of two steps of the receiver reads the question alone; its keys and values are of all slots.
    last = slots * 3 * 16**2 + 2 * slots * 16 + 16**2 + 2 * 16 * 32
    expected = {
        "transmitter-host": block(words, 16, 32),
        "transmitter": 16 * 32 + 32 * 32,
        "transmitter-mask": 16 * 2 * 64 + 64 + block(17, 64, 256) + 16 * 64,
        "receiver": 32 * 16 + 16 * 64 + 64 * 16,
        "receiver-host": block(slots, 16, 32) + last + 16 * answers,
    }
    [system] = estimate([masked.run]).report.systems
    assert {part.name: part.counts.macs for part in system.parts} == expected
