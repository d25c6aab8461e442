"""A trained system whose chip parts compute in Lava's integers: what both ends lose, over the air."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nsc_deploy.deployment import Place, Readout, read_deployment
from nsc_deploy.deployment import Side as End
from nsc_deploy.errors import ConfigError
from nsc_deploy.exporters.base import RunSettings, Status
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.lava.arithmetic import output_spikes
from nsc_deploy.exporters.lava.integers import IntegerNetwork
from nsc_deploy.exporters.lava.lowering.pipeline import lower
from nsc_deploy.exporters.lava.rules import verdicts
from nsc_deploy.exporters.verify import open_deployment
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.formats.recording import read_recording
from nsc_deploy.graphs.network import Network
from nsc_deploy.models.export import part_name
from nsc_deploy.models.stage import Side, Stage
from nsc_deploy.models.system import System
from nsc_deploy.verification.runner import Runner


class IntegerStage(Stage):
    """Stands for a stage of events: the integers that an export makes of its graph, in the emulator of Lava.

    Args:
        stage: what it stands for.
        network: its integers.
    """

    def __init__(self, stage: Stage, network: IntegerNetwork) -> None:
        super().__init__()
        self.stage = stage
        self.network = network

    def forward(self, signal: Tensor) -> Tensor:
        """Spikes [T, B, out] of events [T, B, in]; no gradient."""
        events = signal.detach().numpy().astype(np.uint8)
        return torch.from_numpy(output_spikes(self.network, events)).float()

    def graph(self, dt: float, readout: Readout | None) -> Any:
        """The graph that the integers were made of."""
        return self.stage.graph(dt, readout)


@dataclass(frozen=True)
class LavaPart:
    """A part of a run that Lava takes as it is.

    Attributes:
        name: of the part.
        graph: its graph.
        calibration: recorded inputs [steps, samples, *shape] to choose scales on, if it has some.
    """

    name: str
    graph: Network
    calibration: NDArray[np.uint8] | None


def in_integers(system: System, parts: Iterable[LavaPart], bits: int) -> System:
    """A finished system with the parts that Lava takes in integers; all others stay as they are.

    Scales are chosen as an export chooses them: on the calibration recordings of the run, or by the weights
    alone where it has none.

    Args:
        system: of the run.
        parts: what `taken_by_lava` found in that run.
        bits: bits of a weight, its sign included.
    """
    integers = {part.name: lower(part.graph, bits=bits, inputs=part.calibration).network for part in parts}
    return System(
        Side(_stages(End.TRANSMITTER, system.transmitter.stages, integers)),
        system.link,
        Side(_stages(End.RECEIVER, system.receiver.stages, integers)),
        system.readout,
    ).eval()


def taken_by_lava(run: Path) -> tuple[LavaPart, ...]:
    """The parts of a run that lower as they are.

    Raises:
        ConfigError: there are none.
        DataError: a graph or a recording of the run is missing or damaged.
    """
    taken = []
    for part in read_deployment(run).parts:
        if part.place is not Place.CHIP or not part.graph.endswith(".nir"):
            continue
        graph = read_network(run / part.graph)
        if all(verdict.status is not Status.REFUSED for verdict in verdicts(graph)):
            recorded = None if part.calibration is None else read_recording(run / part.calibration).values
            taken.append(LavaPart(part.name, graph, recorded))
    if not taken:
        raise ConfigError(
            "has no part that Lava could take, so nothing of it computes in integers",
            where=run,
            hint="Leave it out, or evaluate it without --quantise.",
        )
    return tuple(taken)


def emulator_of(run: Path, part: str, bits: int, *, split: bool) -> Runner:
    """What runs a part of a run as an export to Lava writes it, in the emulator of Lava's arithmetic.

    Args:
        run: finished.
        part: of it, for a chip.
        bits: of a weight, its sign included.
        split: whether what Lava does not take stays on the host.

    Raises:
        ExportError: Lava does not take the part.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / part
        export_all(run, "lava", out, part=part, bits=bits, split=split)
        return open_deployment(out).runners["twin"](RunSettings(layers=False))


def _stages(end: End, stages: Iterable[Stage], integers: dict[str, IntegerNetwork]) -> list[Stage]:
    named = {part_name(end, stage.label): stage for stage in stages}
    return [
        IntegerStage(stage, integers[name]) if name in integers else stage for name, stage in named.items()
    ]
