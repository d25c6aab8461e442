"""Programs as backends: the emulator in numpy, and the compiled C on this machine."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import BackendError
from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c.compilers import STANDARD, Compiler, host_compiler
from nsc_deploy.exporters.c.emulator import emulate, entering
from nsc_deploy.exporters.c.layout import Layout
from nsc_deploy.exporters.c.program import Population, Program
from nsc_deploy.exporters.c.write import Origin, harness_text, header_text, packed, traced_layers
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.operators.neurons import coefficients
from nsc_deploy.io.files import write_text
from nsc_deploy.io.scratch import scratch_folder
from nsc_deploy.io.text import printable
from nsc_deploy.verification.runner import LayerTrace, RunTrace

HOST_OPTIONS = (*STANDARD[:1], "-O2")
"""A harness reads and writes files, so it is hosted; the code of the network is not."""
_SETTINGS = RunSettings()


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

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest."""
        trace = emulate(self._program, entering(self._program, values), record=self._settings.layers)
        self._settings.advance(values.shape[1])
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


class HostRunner:
    """Compiles the C code for this machine and runs it in a process of its own.

    Args:
        layout: what is run.
        source: the text of NAME.c.
        network: the graph it was made from.
        settings: how; what is compiled ends with them.
        options: of the compiler, beside those that it needs.
        compiler: another one than that of this machine.

    Raises:
        BackendError: there is no compiler, or it refuses the code.
    """

    name = "host"

    def __init__(
        self,
        layout: Layout,
        source: str,
        network: Network,
        settings: RunSettings = _SETTINGS,
        options: tuple[str, ...] = HOST_OPTIONS,
        compiler: Compiler | None = None,
    ) -> None:
        self._layout = layout
        self._network = network
        self._settings = settings
        self.compiler = host_compiler() if compiler is None else compiler
        folder = settings.closing.enter_context(scratch_folder("c"))
        self._program = folder / "harness"
        write_sources(folder, layout, source, "host.c.jinja")
        sources = [folder / "harness.c", folder / f"{layout.name}.c"]
        self.compiler.build(sources, self._program, options, folder)

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest.

        Raises:
            BackendError: the program failed.
        """
        events = entering(self._layout.program, values)
        try:
            done = subprocess.run(
                [str(self._program)],
                input=harness_input(events),
                capture_output=True,
                timeout=None,
                check=False,
            )
        except OSError as error:
            raise BackendError(f"the compiled code cannot be run ({error})", where=self._program) from error
        if done.returncode != 0:
            said = printable(done.stderr.decode("utf-8", "replace").strip(), 400)
            raise BackendError(f"the compiled code ended with status {done.returncode}: {said}")
        self._settings.advance(values.shape[1])
        return harness_trace(done.stdout, events, self._layout, self._network)[0]


def write_sources(folder: Path, layout: Layout, source: str, template: str, **values: object) -> None:
    """The network and the program that runs it on recorded samples; `values` are for its template."""
    origin = Origin("this folder", "00000000", recording=False)
    write_text(folder / f"{layout.name}.h", header_text(layout, origin))
    write_text(folder / f"{layout.name}.c", source)
    write_text(folder / "harness.c", harness_text(layout, origin, template, **values))


def harness_input(entering: NDArray[Any]) -> bytes:
    """Events or samples [steps, samples, lines] as a harness reads them."""
    sizes = np.array(entering.shape[:2], "<u4").tobytes()
    return sizes + packed(entering.transpose(1, 0, 2)).tobytes()


def harness_trace(
    answer: bytes, events: NDArray[Any], layout: Layout, network: Network, *, timed: bool = False
) -> tuple[RunTrace, NDArray[np.uint32]]:
    """What a harness wrote: the run, and where it is timed the ticks of each step [steps, samples].

    Raises:
        BackendError: it wrote too little or too much.
    """
    steps, samples = events.shape[:2]
    program = layout.program
    layers = traced_layers(layout)
    ring = layout.output_ring
    first = program.outputs if program.gives_values or ring is None else ring.words
    widths = [first, *(one.spikes.words for one in layers if one.spikes is not None), int(timed)]
    words = np.frombuffer(answer, "<u4")
    if words.size != samples * (steps * sum(widths) + 1):
        raise BackendError(f"the compiled code wrote {words.size} words, others were expected")
    each = words.reshape(samples, -1)[:, :-1].reshape(samples, steps, -1).transpose(1, 0, 2)
    parts = np.split(each, np.cumsum(widths)[:-1], axis=2)
    shown: Mapping[str, LayerTrace] = {
        one.population.name: _shown(one.population, _unpacked(part, one.size), None, network)
        for one, part in zip(layers, parts[1:-1], strict=True)
    }
    output = parts[0].view("<i4") if program.gives_values else _unpacked(parts[0], program.outputs)
    return RunTrace(_output(output, program, network), shown), parts[-1].reshape(steps, -1)


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
    if node.primitive == "Threshold" and numbers.threshold is not None:
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
