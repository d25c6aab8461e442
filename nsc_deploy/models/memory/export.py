"""From a trained Mem-DeepSC to graphs, recorded inputs and deployment.json; each graph is checked.

A sample is a test question with the memory of its story. Parts, in the order of its way:

- `transmitter-host`: the numbers of its words to its vector (for a spiking codec: to its neurons' current in
  each step; none where the whole sender spikes);
- `transmitter`: to symbols, an ONNX graph on the host or, spiking, a NIR graph on a chip;
- `transmitter-mask`, of an importance mask alone: symbols and the SNR to how important each symbol is;
- `receiver`: what was detected to the vector again (spiking: to its parts in each step, whose mean it is);
- `receiver-host`: vector and memory to scores. A slot is the vector and, behind it, whether it is filled; the
  question is the first slot.

A statement takes all parts but the last too, and is then put into the memory. For a stream there are two more
graphs: `stream-memory.onnx` puts a vector into the queue, which is its input and its output, and
`stream-answer.onnx` answers from question and queue.
"""

import io
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor, nn

import nsc_deploy
from nsc_deploy.channels.symbols import normalise_power, transmit
from nsc_deploy.data.stories import Corpus, Questions
from nsc_deploy.deployment import ChannelUse, Deployment, Place, Readout, Side, write_deployment
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.formats.onnx import write_onnx
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_run import start_session
from nsc_deploy.models.export import require_finite, tolerance_of
from nsc_deploy.models.features.export import PartRun, record_calibration, through, write_part
from nsc_deploy.models.features.graphs import OPSET, onnx_graph
from nsc_deploy.models.memory.graphs import (
    Answerer,
    CurrentReader,
    DenseReceiver,
    DenseSender,
    Remember,
    SentenceReader,
    SymbolScorer,
)
from nsc_deploy.models.memory.masks import ImportanceModel
from nsc_deploy.models.memory.semantic import SemanticDecoder
from nsc_deploy.models.memory.spiking import SpikingJscDecoder, SpikingJscEncoder
from nsc_deploy.models.memory.spiking_sender import SpikingTransmitter
from nsc_deploy.models.memory.system import MemDeepSC
from nsc_deploy.models.stage import StageLabel

STEP_S = 0.001
"""Length of a step, which nothing in these systems sets: a millisecond, as chips are run."""
STREAM_MEMORY, STREAM_ANSWER = "stream-memory.onnx", "stream-answer.onnx"
RECORDED = 200
Values = NDArray[np.float32]


def write_memory_graphs(
    run: Path, system: MemDeepSC, corpus: Corpus, dataset: str, test_accuracy: float, seed: int
) -> Deployment:
    """Write each part as a graph with what enters it for some test questions, and deployment.json.

    Of parts for a chip and of ONNX graphs it is recorded too what enters them for training questions: scales
    are chosen on it.

    Args:
        run: the run directory.
        system: finished, in evaluation mode.
        corpus: whose questions are recorded, evenly from all tasks.
        dataset: its name.
        test_accuracy: of the torch model.
        seed: of the channel.

    Raises:
        GraphError: a graph does not compute what the torch model computed.
        UserError: the run directory cannot be written.
    """
    judged, learnt = _some(corpus.test), _some(corpus.train)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        told = _tell(system, corpus, judged, generator)
        calibrating = _tell(system, corpus, learnt, generator)
    calibrations = record_calibration(run, _parts(system, calibrating), STEP_S, learnt.answer)
    parts = tuple(
        write_part(run, part, STEP_S, judged.answer, calibrations.get(part.name))
        for part in _parts(system, told)
    )
    streams = stream_graphs(system.semantic.decoder)
    check_streams(streams, system.semantic.decoder, torch.from_numpy(told.slots[0]))
    for name, graph in streams.items():
        write_onnx(run / name, graph)
    channel = system.air.channel
    deployment = Deployment(
        system="mem-deepsc",
        dataset=dataset,
        class_names=corpus.vocabulary.answers,
        dt=STEP_S,
        channel=ChannelUse(
            kind=channel.kind.value,
            snr_db=channel.snr_db,
            snr_to_db=channel.snr_to_db,
            uses_per_step=round(system.symbols_sent + system.position_symbols),
            steps=1,
        ),
        readout=Readout(classes=len(corpus.vocabulary.answers), group=1),
        parts=parts,
        test_accuracy=test_accuracy,
    )
    write_deployment(run, deployment)
    return deployment


def _some(questions: Questions) -> Questions:
    """A few hundred questions, evenly from all tasks."""
    return questions.only(np.linspace(0, len(questions) - 1, min(RECORDED, len(questions))).astype(np.int64))


def stream_graphs(decoder: SemanticDecoder) -> Mapping[str, onnx.ModelProto]:
    """The graphs of a stream by file name; N is open in both."""
    width, memory = decoder.mark.shape[0], decoder.memory
    queue, filled = torch.zeros(2, memory, width), torch.zeros(2, dtype=torch.int64)
    vector = torch.zeros(2, width)
    return {
        STREAM_MEMORY: _exported(
            Remember(), {"queue": queue, "filled": filled, "sentence": vector}, ("new_queue", "new_filled")
        ),
        STREAM_ANSWER: _exported(
            decoder, {"question": vector, "queue": queue, "filled": filled}, ("answer",)
        ),
    }


@torch.no_grad()
def check_streams(graphs: Mapping[str, onnx.ModelProto], decoder: SemanticDecoder, slots: Tensor) -> None:
    """Run both graphs of a stream in onnxruntime: statements one by one, then the question.

    Args:
        graphs: by file name, as `stream_graphs` gives them.
        decoder: that they are of.
        slots: question and memory as received, and whether a slot is filled [N, 1 + memory, width + 1].

    Raises:
        GraphError: a queue that is not torch's, or scores that differ by more than rounding.
    """
    remember, answer = start_session(graphs[STREAM_MEMORY]), start_session(graphs[STREAM_ANSWER])
    question, told = slots[:, 0, :-1], slots[:, 1:, :-1]
    lengths = slots[:, 1:, -1].sum(1).long()
    queue, filled = torch.zeros_like(told), torch.zeros(len(slots), dtype=torch.int64)
    for age in range(int(lengths.max()), 0, -1):
        some = lengths >= age
        given = {"queue": queue[some], "filled": filled[some], "sentence": told[some, -age]}
        found = remember.run(None, {name: values.numpy() for name, values in given.items()})
        queue[some], filled[some] = torch.from_numpy(found[0]), torch.from_numpy(found[1])
    if not (torch.equal(queue, told) and torch.equal(filled, lengths)):
        raise GraphError("gives a queue that is not torch's", where=STREAM_MEMORY)
    heard = {"question": question, "queue": queue, "filled": filled}
    [scores] = answer.run(None, {name: values.numpy() for name, values in heard.items()})
    expected = decoder(question, told, lengths).numpy()
    require_finite(expected, STREAM_ANSWER)
    apart = float(np.abs(scores - expected).max())
    if not apart <= tolerance_of(expected):
        raise GraphError(f"gives values that differ from torch's by up to {apart}", where=STREAM_ANSWER)


def _exported(module: nn.Module, inputs: Mapping[str, Tensor], outputs: tuple[str, ...]) -> onnx.ModelProto:
    written = io.BytesIO()
    names = [*inputs, *outputs]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            written,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: {0: "N"} for name in names},
        )
    model = onnx.load_model_from_string(written.getvalue())
    model.producer_name, model.producer_version = "nsc-deploy", nsc_deploy.__version__
    helper.set_model_props(model, {"signal": Signal.REAL.value})
    onnx.checker.check_model(model, full_check=True)
    return model


@dataclass(frozen=True, eq=False)
class _Told:
    """What passes through the parts for some questions.

    Attributes:
        words: of the questions [1, N, W].
        vectors: of the questions [1, N, width].
        symbols: of the questions, all of them at unit power, and the SNR in dB [1, N, 2 L + 1].
        detected: symbols of the questions [N, L, 2].
        slots: questions and memories as received [1, N, 1 + memory, width + 1].
    """

    words: Values
    vectors: Tensor
    symbols: Values
    detected: Tensor
    slots: Values


def _tell(system: MemDeepSC, corpus: Corpus, questions: Questions, generator: torch.Generator) -> _Told:
    """Send the questions and every statement before them, each story with an SNR and a channel of its own."""
    count, memory = len(questions), system.memory
    stories = [questions.story(number, memory) for number in range(count)]
    lengths = torch.tensor([len(story) for story in stories])
    block = torch.cat([torch.arange(count), torch.arange(count).repeat_interleave(lengths)])
    rows = np.concatenate([questions.question, *stories]).astype(np.int64)
    told = torch.from_numpy(corpus.sentences[rows])
    air = system.air
    snr_db = air.draw_snr(count, generator)[block]
    symbols = system.send(told)
    message = system.mask(symbols, snr_db, generator)
    detected = transmit(message.symbols, snr_db, block, air.channel, air.knowledge, generator).symbols
    if message.keep is not None:
        detected = detected * message.keep.unsqueeze(-1)
    received = system.jsc_decoder(detected)
    slots = torch.zeros(count, 1 + memory, received.shape[1] + 1)
    slots[:, 0, :-1], slots[:, 0, -1] = received[:count], 1
    first = count
    for number, length in enumerate(lengths.tolist()):
        if length:
            slots[number, -length:, :-1] = received[first : first + length]
            slots[number, -length:, -1] = 1
        first += length
    vectors = system.semantic.send(told[:count])
    scored = torch.cat([normalise_power(symbols[:count]).flatten(1), snr_db[:count, None].float()], 1)
    return _Told(
        told[None, :count].float().numpy(),
        vectors[None],
        scored[None].numpy(),
        detected[:count],
        slots[None].numpy(),
    )


def _parts(system: MemDeepSC, told: _Told) -> Iterator[PartRun]:
    encoder, decoder = system.jsc_encoder, system.jsc_decoder
    if isinstance(encoder, SpikingTransmitter):
        yield _spiking_sender(encoder, told)
    elif isinstance(encoder, SpikingJscEncoder):
        yield _reader(
            CurrentReader(system.semantic.encoder, encoder), told, "words to a current in each step"
        )
        yield _spiking_encoder(encoder, told)
    else:
        yield _reader(SentenceReader(system.semantic.encoder), told, "words of a sentence to its vector")
        yield _dense_encoder(encoder, told)
    if system.importance is not None:
        yield _scorer(system.importance, told)
    yield (
        _spiking_decoder(decoder, told)
        if isinstance(decoder, SpikingJscDecoder)
        else _dense_decoder(decoder, told)
    )
    answerer = Answerer(system.semantic.decoder)
    yield PartRun(
        Side.RECEIVER, StageLabel.HOST, Place.HOST, "question and memory to an answer",
        onnx_graph(answerer, told.slots.shape[2:], 1, Signal.REAL, STEP_S), Signal.REAL, told.slots,
        through(answerer, told.slots),
    )  # fmt: skip


def _reader(reader: SentenceReader, told: _Told, description: str) -> PartRun:
    return PartRun(
        Side.TRANSMITTER, StageLabel.HOST, Place.HOST, description,
        onnx_graph(reader, told.words.shape[2:], 1, Signal.REAL, STEP_S), Signal.REAL, told.words,
        through(reader, told.words),
    )  # fmt: skip


def _dense_encoder(encoder: nn.Module, told: _Told) -> PartRun:
    sender, vectors = DenseSender(encoder), told.vectors.numpy()
    return PartRun(
        Side.TRANSMITTER, StageLabel.MAIN, Place.HOST, "vector to symbols",
        onnx_graph(sender, vectors.shape[2:], 1, Signal.REAL, STEP_S), Signal.REAL, vectors,
        through(sender, vectors),
    )  # fmt: skip


def _scorer(importance: ImportanceModel, told: _Told) -> PartRun:
    scorer = SymbolScorer(importance)
    return PartRun(
        Side.TRANSMITTER, StageLabel.MASK, Place.HOST, "symbols and the SNR to what each symbol matters",
        onnx_graph(scorer, told.symbols.shape[2:], 1, Signal.REAL, STEP_S), Signal.REAL, told.symbols,
        through(scorer, told.symbols),
    )  # fmt: skip


def _dense_decoder(decoder: nn.Module, told: _Told) -> PartRun:
    receiver, detected = DenseReceiver(decoder), told.detected.flatten(1)[None].numpy()
    return PartRun(
        Side.RECEIVER, StageLabel.MAIN, Place.HOST, "detected symbols to the vector",
        onnx_graph(receiver, detected.shape[2:], 1, Signal.REAL, STEP_S), Signal.REAL, detected,
        through(receiver, detected),
    )  # fmt: skip


@torch.no_grad()
def _spiking_sender(sender: SpikingTransmitter, told: _Told) -> PartRun:
    events = sender.events(torch.from_numpy(told.words[0]).long())
    return PartRun(
        Side.TRANSMITTER, StageLabel.MAIN, Place.CHIP, "words and ticks to spikes; the last steps are sent",
        sender.graph(STEP_S), Signal.EVENTS, events.numpy(), sender.spikes(events).numpy(),
    )  # fmt: skip


@torch.no_grad()
def _spiking_encoder(encoder: SpikingJscEncoder, told: _Told) -> PartRun:
    driven = encoder.current(told.vectors[0])
    return PartRun(
        Side.TRANSMITTER, StageLabel.MAIN, Place.CHIP, "a current in each step, to spikes",
        encoder.graph(STEP_S), Signal.REAL, driven.numpy(), encoder.spikes(driven).numpy(),
    )  # fmt: skip


@torch.no_grad()
def _spiking_decoder(decoder: SpikingJscDecoder, told: _Told) -> PartRun:
    events = decoder.events(told.detected)
    return PartRun(
        Side.RECEIVER, StageLabel.MAIN, Place.CHIP, "received bits and ticks to parts of a vector",
        decoder.graph(STEP_S), Signal.EVENTS, events.numpy(), decoder.values(events).numpy(),
    )  # fmt: skip
