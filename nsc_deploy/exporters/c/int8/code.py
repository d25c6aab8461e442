"""Conventional networks as code: lowered from ONNX, read back, and run in units of their graphs."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import BackendError, ConfigError
from nsc_deploy.exporters.base import ExportRequest, RunSettings, ScaleGranularity
from nsc_deploy.exporters.c.code import NO_MANIFEST, SHARED, LayerSize, Origin, Piece, Prepared
from nsc_deploy.exporters.c.int8 import write
from nsc_deploy.exporters.c.int8.chain import read_chain, require_what_runs
from nsc_deploy.exporters.c.int8.emulator import emulate
from nsc_deploy.exporters.c.int8.integers import computes_in_integers, read_integers
from nsc_deploy.exporters.c.int8.network import LARGEST, Int8Network, Outputs
from nsc_deploy.exporters.c.int8.quantise import choose_ranges, notes_on_ranges, quantise
from nsc_deploy.exporters.c.int8.store import read_int8, write_int8
from nsc_deploy.exporters.c.layout import identifier
from nsc_deploy.exporters.c.manifest import Manifest
from nsc_deploy.exporters.c.packing import Table
from nsc_deploy.exporters.inputs import MOST_SAMPLES, Samples, calibration_inputs, fits, recording_for, spread
from nsc_deploy.exporters.manifest import RECORDING
from nsc_deploy.exporters.quantised import Calibrated
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.onnx_network import OnnxNetwork, read_onnx_network
from nsc_deploy.graphs.readout import readout_of
from nsc_deploy.io.files import sha256
from nsc_deploy.io.text import counted
from nsc_deploy.passes.base import Note
from nsc_deploy.verification.onnx_runner import OnnxRunner
from nsc_deploy.verification.runner import Runner, RunTrace

GRAPH = "source.onnx"
BITS = 8
_HOLDS = {"votes": "votes", "ready": "state", "wide": "what enters a layer", "patch": "a window"}


@dataclass(frozen=True, eq=False)
class Int8Code:
    """A conventional network in C.

    Attributes:
        int8: its integers.
        name: prefix of everything in C.
        network: the ONNX graph it was made from.
    """

    int8: Int8Network
    name: str
    network: OnnxNetwork

    @property
    def entry(self) -> str:
        """The function of a step behind "NAME_"."""
        return "step"

    @property
    def tables(self) -> Sequence[Table]:
        """Everything in flash but code."""
        return write.tables(self.int8)

    @property
    def state(self) -> Sequence[Piece]:
        """Everything in RAM but the stack."""
        fields = write.write_out(self.int8, self.name).state
        return [
            Piece(owner, _HOLDS.get(field, "state" if owner != SHARED else "values between layers"), size)
            for field, (owner, size) in fields.items()
        ]

    @property
    def sizes(self) -> Sequence[LayerSize]:
        """The layers in their order."""
        return write.layer_sizes(self.int8, self.name)

    def header(self, origin: Origin, manifest_sha256: str = NO_MANIFEST) -> str:
        """NAME.h."""
        return write.header_text(self.int8, self.name, origin, manifest_sha256, self.network.dt)

    def source(self, origin: Origin) -> str:
        """NAME.c."""
        return write.source_text(self.int8, self.name, origin)

    def example(self, origin: Origin, values: NDArray[Any], about: str) -> str:
        """main.c with one sample [steps, 1, *shape]."""
        return write.example_text(self.int8, self.name, origin, self.entering(values)[:, 0], about)

    def readme(self, origin: Origin, about: str) -> str:
        """README.md."""
        return write.readme_text(self.int8, self.name, origin, about)

    def harness(self, template: str, **values: Any) -> str:
        """A main program that runs recorded samples."""
        return write.harness_text(self.int8, self.name, template, **values)

    def layer_of(self, symbol: str) -> str:
        """The node whose function a symbol is; "all layers" for one that serves all."""
        names = (layer.name for at, layer in enumerate(self.int8.layers) if symbol.startswith(f"l{at}_"))
        return next(names, SHARED)

    def entering(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values of 8 bits [steps or 1, samples, inputs].

        Raises:
            ConfigError: samples that enter whole, of another length; for a graph in integers other values
                than whole numbers 0 to 127.
        """
        whole = self.int8.whole
        if whole is not None and len(values) != whole:
            raise ConfigError(
                f"has {len(values)} steps, and the code takes samples of {whole} whole", where="--inputs"
            )
        if self.int8.integer and not _are_whole(values):
            raise ConfigError(
                f"has other values than whole numbers 0 to {LARGEST}, which a graph in integers takes in",
                where="--inputs",
                hint="Name what was recorded in front of this graph.",
            )
        return self.int8.quantised(values)

    def packed(self, entering: NDArray[Any]) -> NDArray[np.uint32]:
        """What enters in words [samples, steps, words]."""
        steps, samples, inputs = entering.shape
        full = np.zeros((samples, steps, -(-inputs // 4) * 4), np.int8)
        full[..., :inputs] = entering.transpose(1, 0, 2)
        return full.view("<u4")

    def trace(
        self, answer: bytes, entering: NDArray[Any], *, timed: bool = False
    ) -> tuple[RunTrace, NDArray[np.uint32]]:
        """What a harness wrote: the run, and where it is timed the ticks of each step [steps, samples].

        Raises:
            BackendError: it wrote too little or too much.
        """
        steps, samples = entering.shape[:2]
        outputs, each_word = self.int8.outputs, 32 // self.int8.output_bits
        filled = -(-outputs // each_word)
        width = filled + timed
        expected = 4 * samples * (steps * width + 1)
        if len(answer) != expected:
            wrote = counted(len(answer), "byte")
            raise BackendError(f"the compiled code wrote {wrote}, {expected:,} were expected")
        words = np.frombuffer(answer, "<u4")
        each = words.reshape(samples, -1)[:, :-1].reshape(samples, steps, width).transpose(1, 0, 2)
        kind = f"<i{self.int8.output_bits // 8}"
        shown = np.ascontiguousarray(each[..., :filled]).view(kind)[..., :outputs]
        return self._shown(shown), each[..., -1] if timed else np.zeros((steps, 0), np.uint32)

    def reference(self, nodes: Sequence[str] | None = None) -> Runner:
        """Onnxruntime, which shows no layers."""
        del nodes
        return OnnxRunner(self.network)

    def emulator(self, settings: RunSettings) -> Runner:
        """The integers in numpy."""
        return _Emulator(self, settings)

    def emulate(self, values: NDArray[Any]) -> RunTrace:
        """Recorded inputs [steps, samples, *shape] through the integers."""
        return self._shown(emulate(self.int8, self.entering(values)))

    def write(self, file: Path) -> None:
        """Write the integers."""
        write_int8(file, self.int8)

    def _shown(self, outputs: Outputs) -> RunTrace:
        """Outputs in units of the graph; float32 tells whole numbers of 16 bits times a factor apart.

        Sums of 32 bits come to what the graph gives out: one rounding of the product with its factor.
        """
        outputs = outputs[-1:] if self.int8.final else outputs
        shape = (*outputs.shape[:2], *self.network.output_node.output_shape)
        return RunTrace((outputs * self.int8.output_scale).astype(np.float32).reshape(shape))


class _Emulator:
    """The integers as a backend."""

    name = "emulator"

    def __init__(self, code: Int8Code, settings: RunSettings) -> None:
        self._code = code
        self._settings = settings

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest."""
        trace = self._code.emulate(values)
        self._settings.advance(values.shape[1])
        return trace


def prepare(request: ExportRequest) -> Prepared:
    """Lower an ONNX graph.

    Raises:
        GraphError: an operator without a form.
        ConfigError: options that events have alone, or no inputs to choose ranges on.
    """
    if request.bits != BITS or request.granularity is not ScaleGranularity.NEURON:
        raise ConfigError(
            "weights of ONNX graphs have 8 bits and a factor for each row",
            where="--bits" if request.bits != BITS else "--scales",
            hint="Leave it out.",
        )
    network = request.network
    if not isinstance(network, OnnxNetwork):
        raise TypeError("an ONNX file that was read as something else")
    classes, group = readout_of(network) or (None, 1)
    calibrated = Calibrated(samples=0)
    if computes_in_integers(network):
        recording, _ = _recorded(request, "a graph in integers takes whole numbers, and there are no inputs")
        stepped = replace(network, steps=recording.steps)
        int8 = read_integers(stepped, request.graph_file, classes=classes, group=group)
        request.notify("taking the integers of the graph as they are: no ranges are chosen")
        text = "weights, biases and factors are the graph's, and so is the rounding"
        notes = [Note("integers", None, text)]
    else:
        recording, chosen_on, calibrated = _inputs(request)
        chain = read_chain(replace(network, steps=recording.steps), request.graph_file)
        checked_on = _checked_on(recording).values
        require_what_runs(chain, network, checked_on, request.graph_file)
        ranges = choose_ranges(chain, chosen_on.values)
        int8 = quantise(chain, ranges, classes=classes, group=group)
        text = f"ranges of {chosen_on.samples} samples, weights of 8 bits"
        notes = [
            Note("rounding", None, text, exact=False),
            *notes_on_ranges(int8, ranges, checked_on),
        ]
    name = identifier(request.part or request.graph_file.stem)
    return Prepared(
        code=Int8Code(int8, name, network),
        calibration=calibrated,
        inputs=_checked_on(recording),
        graph=GRAPH,
        put_graph=partial(shutil.copyfile, request.graph_file),
        put_recording=lambda out: write_recording(out, recording),
        notes=tuple(("quantise", note) for note in notes),
    )


def code_of_size(network: Network) -> Int8Code:
    """A graph in C with ranges of no meaning: its memory and its cycles do not depend on them.

    Raises:
        GraphError: an operator without a form.
    """
    if not isinstance(network, OnnxNetwork):
        raise TypeError("no graph of ONNX")
    classes, group = readout_of(network) or (None, 1)
    if computes_in_integers(network):
        return Int8Code(read_integers(network, "graph", classes=classes, group=group), "network", network)
    chain = read_chain(network, "graph")
    node = network.input_node
    values = np.random.default_rng(0).normal(size=(network.steps or 1, 8, *node.output_shape))
    int8 = quantise(chain, choose_ranges(chain, values), classes=classes, group=group)
    return Int8Code(int8, "network", network)


def _checked_on(recording: Recording) -> Samples:
    return spread(recording, min(recording.samples, MOST_SAMPLES))


def _inputs(request: ExportRequest) -> tuple[Recording, Recording, Calibrated]:
    """What the code is checked on, and what its ranges are chosen on: never the same samples.

    Raises:
        ConfigError: there are none, or ranges would be chosen on 0 alone.
    """
    recording, chosen_on, calibrated = _shared_out(request)
    if not chosen_on.values.any():
        raise ConfigError(
            f"what enters is 0 in all {counted(chosen_on.samples, 'sample')} that ranges are chosen on",
            where=calibrated.path,
            hint="Name others: --calibration FILE.npz",
        )
    return recording, chosen_on, calibrated


def _shared_out(request: ExportRequest) -> tuple[Recording, Recording, Calibrated]:
    """The same, whatever enters.

    Raises:
        ConfigError: there are none.
    """
    chosen_on = calibration_inputs(request)
    if chosen_on is not None:
        request.notify(f"quantising, ranges chosen on {chosen_on.samples} recorded samples")
    recording, file = _recorded(request, "ranges of 8 bits are chosen on recorded inputs, and there are none")
    if chosen_on is not None:
        return recording, chosen_on, Calibrated.of(request, chosen_on)
    if recording.samples < 2:
        raise ConfigError(
            "ranges are chosen on other samples than the code is checked on, and there is one",
            where=request.recording_file,
            hint="Name others: --calibration FILE.npz",
        )
    half, rest = (_every_second(recording, first) for first in (0, 1))
    request.notify(
        f"quantising, ranges chosen on {half.samples} of the recorded samples; the other {rest.samples} go "
        "into the folder (--calibration FILE.npz names others)"
    )
    calibrated = Calibrated(samples=half.samples, path=str(file), sha256=sha256(file))
    return rest, half, calibrated


def _recorded(request: ExportRequest, missing: str) -> tuple[Recording, Path]:
    """The recorded inputs of a request, and their file.

    Raises:
        ConfigError: there are none, or of another graph.
    """
    if request.recording_file is None:
        raise ConfigError(
            missing,
            where=request.graph_file,
            hint="Name some: --inputs recording.npz (and, best of a training part, --calibration FILE.npz).",
        )
    recording = recording_for(request.network, request.recording_file)
    fits(recording, request.network, request.recording_file)
    return recording, request.recording_file


def _are_whole(values: NDArray[Any]) -> bool:
    """Whether all are whole numbers that 8 bits hold."""
    return bool(((values >= 0) & (values <= LARGEST) & (values % 1 == 0)).all())


def _every_second(recording: Recording, first: int) -> Recording:
    labels = None if recording.labels is None else recording.labels[first::2]
    return Recording(recording.values[:, first::2], recording.signal, recording.dt, labels)


def read_back(folder: Path, manifest: Manifest) -> Int8Code:
    """The code of a folder.

    Raises:
        DataError: damaged.
        GraphError: the graph is.
    """
    readout = None
    if manifest.classes is not None and manifest.group is not None:
        readout = manifest.classes, manifest.group
    network = read_onnx_network(folder / GRAPH, inputs=folder / RECORDING, dt=manifest.dt, readout=readout)
    return Int8Code(read_int8(folder / manifest.program), manifest.name, network)
