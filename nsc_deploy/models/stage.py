"""A stage: one graph of a system. Training, export and recordings all follow the same list of stages."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from nsc_deploy.deployment import Place, Readout
from nsc_deploy.graphs.network import Signal


class StageLabel(StrEnum):
    """What the name of a stage's graph adds to the side it is at."""

    MAIN = ""
    HOST = "host"
    FRONT_END = "front-end"
    MASK = "mask"


class Rows(NamedTuple):
    """Weights that meet in the same neurons.

    Attributes:
        weights: side by side [out, in], or [out] for one weight a neuron.
        bias: [out], or None.
    """

    weights: tuple[nn.Parameter, ...]
    bias: nn.Parameter | None = None


class Stage(nn.Module, ABC):
    """Turns a signal [T, B, in] into a signal [T, B, out] and knows itself as a NIR or ONNX graph.

    Attributes:
        label: distinguishes the stages of one side; empty for the main one.
        place: what executes it.
        description: one line for a person.
        takes: what enters.
        emits: what leaves.
    """

    label: ClassVar[StageLabel] = StageLabel.MAIN
    place: ClassVar[Place] = Place.CHIP
    description: ClassVar[str] = ""
    takes: Signal = Signal.EVENTS
    emits: Signal = Signal.EVENTS

    @abstractmethod
    def graph(self, dt: float, readout: Readout | None) -> Any:
        """The stage as a `nir.NIRGraph` or an `onnx.ModelProto`.

        Args:
            dt: length of a step in seconds.
            readout: how a decision is read from the output, for the last stage of a receiver.
        """

    def undecided(self, signal: Tensor) -> Tensor | None:
        """Outputs for a signal that may be others in an ONNX graph, since rounding decides a spike inside.

        Returns:
            Where they are, bool of a shape that broadcasts to the outputs; None for nowhere.
        """
        del signal
        return None

    def finish(self) -> None:
        """Put the weights that meet events on their dyadic grid; called once, when training has ended."""

    def rows(self) -> tuple[Rows, ...]:
        """The weights that a chip would hold, population by population; none where it takes no such stage."""
        return ()


class Side(nn.Module):
    """The stages of a transmitter or a receiver, one behind the other; with none, events pass."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        for before, after in pairwise(stages):
            if before.emits is not after.takes:
                raise ValueError(f"a stage that takes {after.takes} follows one that emits {before.emits}")
        self._stages = nn.ModuleList(stages)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages in order."""
        return tuple(stage for stage in self._stages if isinstance(stage, Stage))

    @property
    def emits(self) -> Signal:
        """What leaves the last stage."""
        return self.stages[-1].emits if self.stages else Signal.EVENTS

    def forward(self, signal: Tensor) -> Tensor:
        """The output of the last stage [T, B, out]."""
        return self.trace(signal)[-1]

    def trace(self, signal: Tensor) -> list[Tensor]:
        """The input of each stage, then the output of the last."""
        signals = [signal]
        for stage in self.stages:
            signals.append(stage(signals[-1]))
        return signals

    def finish(self) -> None:
        """Finish every stage."""
        for stage in self.stages:
            stage.finish()
