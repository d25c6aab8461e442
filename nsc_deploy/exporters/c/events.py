"""Event-driven networks as code: their emulator, and what compiled code gives back in units of the graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import BackendError
from nsc_deploy.exporters.base import ExportRequest, RunSettings
from nsc_deploy.exporters.c import write
from nsc_deploy.exporters.c.code import NO_MANIFEST, SHARED, LayerSize, Origin, Piece, Prepared
from nsc_deploy.exporters.c.comparators import FrontEnd, find_front_end
from nsc_deploy.exporters.c.emulator import clipped_in, emulate, entering
from nsc_deploy.exporters.c.layout import Layout, identifier, lay_out
from nsc_deploy.exporters.c.lowering import lower_to_program
from nsc_deploy.exporters.c.manifest import Manifest
from nsc_deploy.exporters.c.packing import Table
from nsc_deploy.exporters.c.program import Population, Program
from nsc_deploy.exporters.c.program_file import read_program, write_program
from nsc_deploy.exporters.inputs import check_inputs, copy_recording
from nsc_deploy.exporters.manifest import GRAPH, exported_graph
from nsc_deploy.exporters.quantised import Calibrated, choose_calibration
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Network, Signal
from nsc_deploy.graphs.operators.neurons import coefficients
from nsc_deploy.graphs.readout import readout_of
from nsc_deploy.io.text import counted
from nsc_deploy.verification.runner import LayerTrace, ReferenceRunner, Runner, RunTrace

_SETTINGS = RunSettings()
_STATES = {"sums": "sums of a step", "rest": "votes and places", "input": "events"}


@dataclass(frozen=True, eq=False)
class EventCode:
    """A graph of events in C.

    Attributes:
        layout: its integers, as they are written.
        network: the graph.
    """

    layout: Layout
    network: Network

    @property
    def name(self) -> str:
        """Prefix of everything in C."""
        return self.layout.name

    @property
    def entry(self) -> str:
        """The function of a step behind "NAME_"."""
        return self.layout.entry

    @property
    def tables(self) -> Sequence[Table]:
        """Everything in flash but code."""
        return self.layout.tables

    @property
    def state(self) -> Sequence[Piece]:
        """Everything in RAM but the stack."""
        return [
            Piece(SHARED if name in {"sums", "rest"} else name, _STATES.get(name, "state"), size)
            for name, size in self.layout.state_bytes.items()
            if size
        ]

    @property
    def sizes(self) -> Sequence[LayerSize]:
        """The layers in their order."""
        states = self.layout.state_bytes
        return [
            LayerSize(
                node=one.population.name,
                neurons=one.size,
                synapses=one.population.synapses,
                forms=tuple(f"{each.form} {each.bits}" for each in one.deliveries),
                table_bytes=sum(table.bytes for table in one.tables),
                state_bytes=states[one.population.name],
            )
            for one in self.layout.layers
        ]

    def header(self, origin: Origin, manifest_sha256: str = NO_MANIFEST) -> str:
        """NAME.h."""
        return write.header_text(self.layout, origin, manifest_sha256)

    def source(self, origin: Origin) -> str:
        """NAME.c."""
        return write.source_text(self.layout, origin)

    def example(self, origin: Origin, values: NDArray[Any], about: str) -> str:
        """main.c with one sample [steps, 1, *shape]."""
        return write.example_text(self.layout, origin, self.entering(values)[:, 0], about)

    def readme(self, origin: Origin, about: str) -> str:
        """README.md."""
        return write.readme_text(self.layout, origin, about)

    def harness(self, template: str, **values: Any) -> str:
        """A main program that runs recorded samples."""
        return write.harness_text(self.layout, template, **values)

    def layer_of(self, symbol: str) -> str:
        """The node whose function a symbol is; "all layers" for one that serves all."""
        front = self.layout.front_end
        if front is not None and symbol.startswith("comparators_"):
            return front.comparators.name
        names = (one.population.name for one in self.layout.layers if symbol.startswith(f"{one.name}_"))
        return next(names, SHARED)

    def entering(self, values: NDArray[Any]) -> NDArray[Any]:
        """Events or samples of 16 bits [steps, samples, lines]."""
        return entering(self.layout.program, values)

    def packed(self, entering: NDArray[Any]) -> NDArray[np.uint32]:
        """What enters in words [samples, steps, words]."""
        return write.packed(entering.transpose(1, 0, 2))

    def trace(
        self, answer: bytes, entering: NDArray[Any], *, timed: bool = False
    ) -> tuple[RunTrace, NDArray[np.uint32]]:
        """What a harness wrote: the run, and where it is timed the ticks of each step [steps, samples].

        Raises:
            BackendError: it wrote too little or too much.
        """
        steps, samples = entering.shape[:2]
        program, layers = self.layout.program, write.traced_layers(self.layout)
        ring = self.layout.output_ring
        first = program.outputs if program.gives_values or ring is None else ring.words
        widths = [first, *(one.spikes.words for one in layers if one.spikes is not None), int(timed)]
        expected = 4 * samples * (steps * sum(widths) + 1)
        if len(answer) != expected:
            wrote = counted(len(answer), "byte")
            raise BackendError(f"the compiled code wrote {wrote}, {expected:,} were expected")
        words = np.frombuffer(answer, "<u4")
        each = words.reshape(samples, -1)[:, :-1].reshape(samples, steps, -1).transpose(1, 0, 2)
        parts = np.split(each, np.cumsum(widths)[:-1], axis=2)
        shown: Mapping[str, LayerTrace] = {
            one.population.name: _shown(one.population, _unpacked(part, one.size), None, self.network)
            for one, part in zip(layers, parts[1:-1], strict=True)
        }
        output = parts[0].view("<i4") if program.gives_values else _unpacked(parts[0], program.outputs)
        return RunTrace(_output(output, program, self.network), shown), parts[-1].reshape(steps, -1)

    def reference(self, nodes: Sequence[str] | None = None) -> Runner:
        """The reference simulator."""
        return ReferenceRunner(self.network, nodes=nodes)

    def emulator(self, settings: RunSettings) -> Runner:
        """The integers in numpy."""
        return EmulatorRunner(self.layout.program, self.network, settings)

    def write(self, file: Path) -> None:
        """Write the integers."""
        write_program(file, self.layout.program)


def prepare(request: ExportRequest) -> Prepared:
    """Lower a graph of events.

    Raises:
        ExportError: a node cannot be represented.
        ConfigError: options or a recording that do not fit.
    """
    network, file = request.network, request.recording_file
    front_end = find_front_end(network)
    chosen_on = choose_calibration(request, behind=None if front_end is None else front_end.behind)
    lowered = lower_to_program(
        network,
        bits=request.bits,
        inputs=None if chosen_on is None else _events(chosen_on, front_end),
        granularity=request.granularity,
    )
    classes, group = readout_of(network) or (None, None)
    name = identifier(request.part or request.graph_file.stem)
    return Prepared(
        code=EventCode(lay_out(lowered.program, name, classes=classes, group=group), network),
        calibration=Calibrated.of(request, chosen_on),
        inputs=check_inputs(request),
        graph=GRAPH,
        put_graph=lambda out: write_network(out, network),
        put_recording=None if file is None else lambda out: copy_recording(network, file, out),
        notes=lowered.notes,
    )


def read_back(folder: Path, manifest: Manifest) -> EventCode:
    """The code of a folder.

    Raises:
        DataError: damaged.
    """
    network = exported_graph(folder / GRAPH, manifest)
    program = read_program(folder / manifest.program)
    return EventCode(lay_out(program, manifest.name, classes=manifest.classes, group=manifest.group), network)


def _events(recording: Recording, front_end: FrontEnd | None) -> NDArray[Any]:
    """What scales are chosen on: events as they were recorded, or those of recorded samples."""
    if front_end is None or recording.signal is Signal.EVENTS:
        return recording.values
    comparators = front_end.comparators
    events = comparators.events(comparators.quantised(recording.values))
    return events.reshape(*events.shape[:2], *front_end.behind.input_node.output_shape)


class EmulatorRunner:
    """Runs a program in numpy.

    Args:
        program: what is run.
        network: the graph it was made from.
        settings: how.
    """

    name = "emulator"

    def __init__(self, program: Program, network: Network, settings: RunSettings = _SETTINGS) -> None:
        self._program = program
        self._network = network
        self._settings = settings
        self._clipped: dict[str, NDArray[np.int64]] = {}

    @property
    def clipped(self) -> Mapping[str, NDArray[np.int64]]:
        """For each node shown so far, in how many (step, sample) the potential of each neuron was cut."""
        return self._clipped

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest."""
        trace = emulate(self._program, entering(self._program, values), record=self._settings.layers)
        self._settings.advance(values.shape[1])
        for one in self._program.populations if self._settings.layers else ():
            clipped = clipped_in(one, trace.populations[one.name].charged)
            self._clipped[one.name] = self._clipped.get(one.name, 0) + clipped
        # Weights at the end of a graph have neurons behind them that are no node of it.
        named = {node.name for node in self._network.nodes} & set(trace.populations)
        layers = {
            one.name: _shown(
                one, trace.populations[one.name].spikes, trace.populations[one.name].charged, self._network
            )
            for one in self._program.populations
            if one.name in named
        }
        return RunTrace(_output(trace.output, self._program, self._network), layers)


def _unpacked(words: NDArray[np.uint32], lines: int) -> NDArray[np.uint8]:
    """Bit maps [..., words] as events [..., lines]."""
    octets = np.ascontiguousarray(words).view(np.uint8)
    return np.unpackbits(octets, axis=-1, bitorder="little")[..., :lines]


def _output(output: NDArray[Any], program: Program, network: Network) -> NDArray[Any]:
    """What leaves, in the shape and the units of the graph."""
    shape = (*output.shape[:2], *network.output_node.output_shape)
    if program.gives_values:
        output = (output / program.population(program.output.source).scale).astype(np.float32)
    return output.reshape(shape)


def _shown(
    one: Population, spikes: NDArray[np.uint8], charged: NDArray[np.int32] | None, network: Network
) -> LayerTrace:
    """A population in units of the graph; a memoryless neuron's bias is taken out of its threshold again."""
    node = network.node(one.name)
    shape = (*spikes.shape[:2], *node.output_shape)
    potentials = None if charged is None else charged / one.scale
    if one.threshold is None:
        return LayerTrace(None, None if potentials is None else _float32(potentials).reshape(shape))
    threshold = one.threshold / one.scale
    numbers = coefficients(node, network)
    # Where constants begin late, biases stay beside the threshold.
    if numbers.memoryless and numbers.threshold is not None and not one.constants:
        shift = numbers.threshold.reshape(-1) - threshold
        threshold = threshold + shift
        potentials = None if potentials is None else potentials + shift
    return LayerTrace(
        spikes.reshape(shape),
        None if potentials is None else _float32(potentials).reshape(shape),
        _float32(threshold).reshape(node.output_shape),
    )


def _float32(values: NDArray[Any]) -> NDArray[np.float32]:
    return values.astype(np.float32)
