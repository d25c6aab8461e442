"""From a trained feature system to graphs and recorded inputs; every graph is checked on the way.

A spiking system has four parts, the backbone and the first convolution on the device's host, the encoder and
the decoder on chips, converter and the rest of the backbone on the server's host. A conventional one has a
part at each end. Host parts before the channel take one step, whatever number of steps the bits take.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from nsc_deploy.channels.binary import BinaryChannel
from nsc_deploy.deployment import ChannelUse, Part, Place, SeparateCoding, Side
from nsc_deploy.errors import DataError
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.onnx import write_onnx
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Reset, Signal
from nsc_deploy.models.export import CALIBRATION, check_graph, part_name
from nsc_deploy.models.features.codecs import Codec, LastNeuron
from nsc_deploy.models.features.graphs import (
    AtOnce,
    OnDevice,
    OnServer,
    QuantisedReceiver,
    QuantisedSender,
    decoder_graph,
    encoder_graph,
    onnx_graph,
)
from nsc_deploy.models.features.jpeg import Compressed, JpegCodec
from nsc_deploy.models.features.quantised_codec import QuantisedCodec
from nsc_deploy.models.features.spiking_codec import SpikingCodec
from nsc_deploy.models.stage import StageLabel

BATCH = 64
NEAR_A_TIE = 1e-4
"""Of the range of what is quantised: so near to where a bit changes, the rounding of the sums before decides
it. Behind 50 convolutions the values of torch and onnxruntime are a hundredth of this apart."""
Values = NDArray[Any]


@dataclass(frozen=True, eq=False)
class FeatureSystem:
    """A trained system, in evaluation mode.

    Attributes:
        device_part: images [B, *image] to features [B, C, h, w].
        codec: finished.
        channel: between its halves.
        server_part: features to scores [B, classes].
    """

    device_part: nn.Module
    codec: Codec
    channel: BinaryChannel
    server_part: nn.Module


@dataclass(frozen=True, eq=False)
class PartRun:
    """One graph with what went through it.

    Attributes:
        side: the end of the link.
        label: distinguishes the parts of a side.
        place: what executes it.
        description: one line for a person.
        graph: NIR or ONNX.
        signal: what enters.
        inputs: [T, N, *shape].
        outputs: [T', N, *shape].
        undecided: bits that the rounding of real values may decide otherwise, of the shape of the outputs;
            None for none.
    """

    side: Side
    label: StageLabel
    place: Place
    description: str
    graph: nir.NIRGraph | onnx.ModelProto
    signal: Signal
    inputs: Values
    outputs: Values
    undecided: NDArray[np.bool_] | None = None

    @property
    def name(self) -> str:
        """As deployment.json calls it."""
        return part_name(self.side, self.label)

    @property
    def takes_scales(self) -> bool:
        """Whether an export may choose scales on what enters: of a part for a chip, and of an ONNX graph."""
        return self.place is Place.CHIP or isinstance(self.graph, onnx.ModelProto)


@dataclass(frozen=True, eq=False)
class Samples:
    """Images and what they show.

    Attributes:
        images: normalised as the backbone takes them [N, *image], float32.
        labels: [N].
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def write_parts(
    run: Path,
    system: FeatureSystem,
    samples: Samples,
    calibration: Samples,
    dt: float,
    noise: torch.Generator,
) -> tuple[Part, ...]:
    """Write each graph of a system with what enters it, and give the parts that deployment.json lists.

    Every graph must give what torch gives: a NIR graph the same bits and potentials, an ONNX graph the same
    values within rounding.

    Args:
        run: the run directory.
        system: whose codec is finished.
        samples: of the test part, which artefacts are judged by.
        calibration: of the training part, which scales are chosen on.
        dt: length of a step in seconds.
        noise: the channel's generator.

    Raises:
        GraphError: a graph does not compute what the torch model computed.
        UserError: the run directory cannot be written.
    """
    recorded = record_calibration(
        run, parts_of(system, calibration.images, dt, noise), dt, calibration.labels
    )
    return tuple(
        write_part(run, one, dt, samples.labels, recorded.get(one.name))
        for one in parts_of(system, samples.images, dt, noise)
    )


def record_calibration(run: Path, parts: Iterable[PartRun], dt: float, labels: Values) -> dict[str, str]:
    """Write what enters the parts whose scales an export may choose, and give the files by part.

    Args:
        run: the run directory.
        parts: with what went through them for samples of the training part.
        dt: length of a step in seconds.
        labels: of the samples.
    """
    recorded = {}
    for one in parts:
        if one.takes_scales:
            recorded[one.name] = f"{one.name}{CALIBRATION}"
            record_part(run / recorded[one.name], one, dt, labels)
    return recorded


def write_part(run: Path, one: PartRun, dt: float, labels: Values, calibration: str | None) -> Part:
    """Write a graph with what enters it; it must give what left it.

    Args:
        run: the run directory.
        one: the graph and what went through it.
        dt: length of a step in seconds.
        labels: of the samples.
        calibration: file name of inputs recorded on training samples.

    Raises:
        GraphError: the graph does not compute what the torch model computed.
    """
    if isinstance(one.graph, nir.NIRGraph):
        path = run / f"{one.name}.nir"
        write_network(path, one.graph)
    else:
        path = run / f"{one.name}.onnx"
        write_onnx(path, one.graph)
    flipped = check_graph(path, one.inputs, one.outputs, undecided=one.undecided)
    recording = f"{one.name}.npz"
    record_part(run / recording, one, dt, labels)
    return Part(
        name=one.name,
        side=one.side,
        place=one.place,
        graph=path.name,
        recording=recording,
        calibration=calibration,
        description=one.description,
        flipped_samples=flipped,
    )


def record_part(path: Path, one: PartRun, dt: float, labels: Values) -> None:
    """Write what enters a part."""
    dtype = np.uint8 if one.signal is Signal.EVENTS else np.float32
    write_recording(path, Recording(one.inputs.astype(dtype), one.signal, dt, labels))


@dataclass(frozen=True)
class SeparateParts:
    """What separate coding of features leaves in a run.

    Attributes:
        parts: the backbone's two ends.
        coding: what is compressed and coded between them.
        bits: on the channel for one sample, mean.
        accuracy: of the server's end on the features as JPEG gives them back.
    """

    parts: tuple[Part, ...]
    coding: SeparateCoding
    bits: float
    accuracy: float


def write_separate_parts(
    run: Path,
    device_part: nn.Module,
    server_part: nn.Module,
    codec: JpegCodec,
    samples: Samples,
    calibration: Samples,
    dt: float,
) -> SeparateParts:
    """Write a backbone's two ends as graphs, with JPEG and the convolutional code between, without errors.

    Args:
        run: the run directory.
        device_part: images to features.
        server_part: features to scores.
        codec: for its features.
        samples: of the test part.
        calibration: of the training part, which scales are chosen on.
        dt: length of a step in seconds.

    Raises:
        DataError: features or scores are not finite.
        GraphError: a graph does not compute what the torch model computed.
        UserError: the run directory cannot be written.
    """
    device, server = AtOnce(device_part).eval(), AtOnce(server_part).eval()
    learnt, _ = _separate_ends(run, device, server, codec, calibration, dt)
    recorded = record_calibration(run, learnt, dt, calibration.labels)
    ends, sent = _separate_ends(run, device, server, codec, samples, dt)
    return SeparateParts(
        parts=tuple(write_part(run, one, dt, samples.labels, recorded[one.name]) for one in ends),
        coding=SeparateCoding(
            source="jpeg", message_bits=tuple(one.message_bits for one in sent), blocks=codec.blocks
        ),
        bits=float(np.mean([one.bits for one in sent])),
        accuracy=float((ends[1].outputs[0].argmax(1) == samples.labels).mean()),
    )


def _separate_ends(
    run: Path, device: AtOnce, server: AtOnce, codec: JpegCodec, samples: Samples, dt: float
) -> tuple[tuple[PartRun, PartRun], list[Compressed]]:
    """Both ends of a backbone with what goes through them, and each feature as it is sent."""
    entering = samples.images[None]
    features = through(device, entering)
    _require_finite(features, "features", run)
    sent = [codec.compress(feature) for feature in features[0]]
    arrived = np.stack([codec.decompress(one) for one in sent])[None]
    scores = through(server, arrived)
    _require_finite(scores, "scores", run)
    ends = (
        PartRun(
            Side.TRANSMITTER, StageLabel.MAIN, Place.HOST, "backbone up to the split",
            onnx_graph(device, entering.shape[2:], 1, Signal.REAL, dt), Signal.REAL, entering, features,
        ),
        PartRun(
            Side.RECEIVER, StageLabel.MAIN, Place.HOST, "backbone from the split",
            onnx_graph(server, arrived.shape[2:], 1, Signal.REAL, dt), Signal.REAL, arrived, scores,
        ),
    )  # fmt: skip
    return ends, sent


def _require_finite(values: Values, what: str, run: Path) -> None:
    if not np.isfinite(values).all():
        raise DataError(
            f"holds a backbone that gives {what} that are not finite",
            where=run,
            hint="Train it with a smaller learning rate, or take other weights.",
        )


def channel_use(system: FeatureSystem, place: tuple[int, int]) -> ChannelUse:
    """What one image costs on the channel: every bit is sent, zeros as ones."""
    form, config = system.codec.form, system.channel.config
    return ChannelUse(
        kind=config.kind.value,
        p=config.p,
        p_to=config.p_to,
        uses_per_step=form.bits_per_inference(*place) // form.steps,
        steps=form.steps,
    )


def parts_of(
    system: FeatureSystem, images: NDArray[np.float32], dt: float, noise: torch.Generator
) -> Iterator[PartRun]:
    """The parts of a system in order, with what passes through them for some images [N, *image]."""
    if isinstance(system.codec, SpikingCodec):
        yield from _spiking_parts(system, system.codec, images, dt, noise)
    elif isinstance(system.codec, QuantisedCodec):
        yield from _conventional_parts(system, system.codec, images, dt, noise)
    else:
        raise TypeError(f"no graphs of a {type(system.codec).__name__}")


def _spiking_parts(
    system: FeatureSystem, codec: SpikingCodec, images: Values, dt: float, noise: torch.Generator
) -> Iterator[PartRun]:
    steps, entering = codec.form.steps, images[None]
    device = OnDevice(system.device_part, codec)
    current = through(device, entering)
    image = images.shape[1:]
    yield PartRun(
        Side.TRANSMITTER, StageLabel.HOST, Place.HOST,
        "backbone up to the split and the first convolution, once for all steps",
        onnx_graph(device, image, 1, Signal.REAL, dt), Signal.REAL, entering, current,
    )  # fmt: skip
    place = current.shape[3], current.shape[4]
    repeated = np.repeat(current, steps, axis=0)
    bits = through(_Encoder(codec), repeated)
    yield PartRun(
        Side.TRANSMITTER, StageLabel.MAIN, Place.CHIP, "encoder: the same current in every step, to bits",
        encoder_graph(codec, place, dt), Signal.REAL, repeated, bits,
    )  # fmt: skip
    received = _sent(system, bits, noise)
    decoded = through(_Decoder(codec), received)
    spikes_alone = codec.form.last is LastNeuron.IF
    yield PartRun(
        Side.RECEIVER, StageLabel.MAIN, Place.CHIP,
        "decoder: bits to spikes" if spikes_alone else "decoder: bits to potentials",
        decoder_graph(codec, place, dt), Signal.EVENTS, received, decoded,
    )  # fmt: skip
    signal = Signal.EVENTS if spikes_alone else Signal.REAL
    server = OnServer(codec, system.server_part)
    yield PartRun(
        Side.RECEIVER, StageLabel.HOST, Place.HOST, "converter and backbone from the split",
        onnx_graph(server, decoded.shape[2:], steps, signal, dt), signal, decoded, through(server, decoded),
    )  # fmt: skip


def _conventional_parts(
    system: FeatureSystem, codec: QuantisedCodec, images: Values, dt: float, noise: torch.Generator
) -> Iterator[PartRun]:
    entering = images[None]
    sender = QuantisedSender(system.device_part, codec)
    values = torch.from_numpy(through(sender.values_of, entering))
    bits = sender.bits_of(values).numpy()
    yield PartRun(
        Side.TRANSMITTER, StageLabel.MAIN, Place.HOST, "backbone up to the split, encoder and quantiser",
        onnx_graph(sender, images.shape[1:], 1, Signal.REAL, dt), Signal.REAL, entering, bits,
        undecided=sender.undecided_of(values, NEAR_A_TIE).numpy(),
    )  # fmt: skip
    received = _sent(system, bits, noise)
    receiver = QuantisedReceiver(codec, system.server_part)
    halves = bool(((received != 0) & (received != 1)).any())
    signal = Signal.REAL if halves else Signal.EVENTS
    yield PartRun(
        Side.RECEIVER, StageLabel.MAIN, Place.HOST, "decoder and backbone from the split",
        onnx_graph(receiver, received.shape[2:], len(received), signal, dt), signal, received,
        through(receiver, received),
    )  # fmt: skip


class _Encoder(nn.Module):
    """Currents of the first neurons to bits, with the layers of the codec."""

    def __init__(self, codec: SpikingCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, current: torch.Tensor) -> torch.Tensor:
        """Bits [T, B, k, h, w]."""
        bits: torch.Tensor = self.codec.bits_of(current)
        return bits


class _Decoder(nn.Module):
    """Bits to spikes of the last neurons, or to their potentials before the reset."""

    def __init__(self, codec: SpikingCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, bits: torch.Tensor) -> torch.Tensor:
        """S or m [T, B, C, h, w]."""
        spikes, after = self.codec.ihf4.run(self.codec.current_of(bits))
        form = self.codec.form
        if form.last is LastNeuron.IF:
            return spikes
        if form.reset is not Reset.SUBTRACT:
            raise TypeError("potentials after a reset to zero do not tell those before it")
        return after + form.threshold * spikes


def through(part: Callable[[torch.Tensor], torch.Tensor], values: Values) -> Values:
    """What a part gives [T', N, *shape] for values [T, N, *shape], some samples at a time."""
    with torch.no_grad():
        parts = [
            part(torch.from_numpy(np.ascontiguousarray(values[:, start : start + BATCH]))).numpy()
            for start in range(0, values.shape[1], BATCH)
        ]
    return np.concatenate(parts, axis=1)


def _sent(system: FeatureSystem, bits: Values, noise: torch.Generator) -> Values:
    with torch.no_grad():
        received: Values = system.channel(torch.from_numpy(bits), noise).numpy()
    return received
