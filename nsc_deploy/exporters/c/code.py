"""What runners, the map of memory and counts of cycles know of a network that is written in C.

Two kinds of network are: event-driven ones (`events.EventCode`) and conventional ones in 8 bits
(`int8.code.Int8Code`). Nothing that compiles, runs or measures code asks which it has before it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c.packing import Table
from nsc_deploy.exporters.inputs import Samples
from nsc_deploy.exporters.quantised import Calibrated
from nsc_deploy.graphs.network import Network
from nsc_deploy.passes.base import Note
from nsc_deploy.verification.runner import Runner, RunTrace

SHARED = "all layers"
NO_MANIFEST = "0" * 64


@dataclass(frozen=True)
class Piece:
    """Some bytes of memory.

    Attributes:
        layer: the node they belong to, "input", or "all layers".
        holds: code, weights, thresholds, state, sums, stack and the like.
        bytes: how many.
    """

    layer: str
    holds: str
    bytes: int


@dataclass(frozen=True)
class LayerSize:
    """A layer as it is written.

    Attributes:
        node: of the graph.
        neurons: or outputs.
        synapses: weights; of a convolution each use of one.
        forms: of its connections, and their bits.
        table_bytes: constants in flash.
        state_bytes: in RAM, without what all layers share.
    """

    node: str
    neurons: int
    synapses: int
    forms: tuple[str, ...]
    table_bytes: int
    state_bytes: int


@dataclass(frozen=True)
class Origin:
    """Where a program comes from, for the first lines of its files.

    Attributes:
        graph: name of the file.
        ready: eight hexadecimal digits that tell its states from those of another.
        recording: whether recorded inputs lie in the folder.
    """

    graph: str
    ready: str
    recording: bool


HERE = Origin("this graph", "00000000", recording=False)
"""Of code that is written to be compiled and measured at once."""


class Code(Protocol):
    """A network in C, its integers chosen."""

    @property
    def name(self) -> str:
        """Prefix of everything in C."""

    @property
    def network(self) -> Network:
        """The graph it was made from."""

    @property
    def entry(self) -> str:
        """The function of a step behind "NAME_"."""

    @property
    def tables(self) -> Sequence[Table]:
        """Everything in flash but code."""

    @property
    def state(self) -> Sequence[Piece]:
        """Everything in RAM but the stack."""

    @property
    def sizes(self) -> Sequence[LayerSize]:
        """The layers in their order."""

    def header(self, origin: Origin, manifest_sha256: str = NO_MANIFEST) -> str:
        """NAME.h."""

    def source(self, origin: Origin) -> str:
        """NAME.c."""

    def example(self, origin: Origin, values: NDArray[Any], about: str) -> str:
        """main.c with one sample [steps, 1, *shape]."""

    def readme(self, origin: Origin, about: str) -> str:
        """README.md."""

    def harness(self, template: str, **values: Any) -> str:
        """A main program that runs recorded samples."""

    def layer_of(self, symbol: str) -> str:
        """The node whose function a symbol is; "all layers" for one that serves all."""

    def entering(self, values: NDArray[Any]) -> NDArray[Any]:
        """Recorded inputs [steps, samples, *shape] as the code takes them in, [steps, samples, numbers]."""

    def packed(self, entering: NDArray[Any]) -> NDArray[np.uint32]:
        """What enters in words [samples, steps, words], as a harness reads them."""

    def trace(
        self, answer: bytes, entering: NDArray[Any], *, timed: bool = False
    ) -> tuple[RunTrace, NDArray[np.uint32]]:
        """What a harness wrote: the run, and where it is timed the ticks of each step [steps, samples].

        Raises:
            BackendError: it wrote too little or too much.
        """

    def reference(self, nodes: Sequence[str] | None = None) -> Runner:
        """What runs the graph in floating point."""

    def emulator(self, settings: RunSettings) -> Runner:
        """What computes the integers without a compiler."""

    def write(self, file: Path) -> None:
        """Write the integers."""


@dataclass(frozen=True)
class Prepared:
    """A graph that was lowered to be written.

    Attributes:
        code: it, in C.
        calibration: what its ranges were chosen on.
        inputs: what the code is checked on.
        graph: name of the file of the graph in the folder.
        put_graph: writes that file.
        put_recording: writes recorded inputs; None where there are none.
        notes: what was done on the way, each with its step.
    """

    code: Code
    calibration: Calibrated
    inputs: Samples
    graph: str
    put_graph: Callable[[Path], None]
    put_recording: Callable[[Path], None] | None
    notes: tuple[tuple[str, Note], ...] = ()
