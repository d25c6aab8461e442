import json

import numpy as np
import onnxruntime
import pytest
import torch

from nsc_deploy.data.corpora import load_corpus
from nsc_deploy.deployment import read_deployment
from nsc_deploy.graphs.formats.recording import read_recording
from nsc_deploy.models.memory.export import STREAM_ANSWER, STREAM_MEMORY, write_memory_graphs
from nsc_deploy.models.memory.semantic import push
from nsc_deploy.training.memory.training import finished_memory_system
from nsc_deploy.training.run import train
from tests.training.memory.test_training import small


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
