"""Counting what a deployment folder runs, part by part: what leaves one enters the next.

Integers are counted as integers, in the emulator of what runs them; beside them the graph that they were made
from is counted on the same inputs, so that both can be laid side by side.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.nir import count_network
from nsc_deploy.energy.counting.operations import PartCount
from nsc_deploy.exporters.base import DeployedPart
from nsc_deploy.graphs.formats.recording import Recording


@dataclass(frozen=True)
class DeployedCount:
    """The counts of a deployment.

    Attributes:
        parts: of what runs.
        floats: of integers, the graphs they were made from.
        outputs: of the last part, [T, N, *shape] at the steps of the graph.
    """

    parts: tuple[PartCount, ...]
    floats: tuple[PartCount, ...]
    outputs: NDArray[Any]


def count_deployed(
    deployed: Sequence[DeployedPart],
    recording: Recording,
    *,
    batch: int = 64,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DeployedCount:
    """Count every operation of all parts over a recording.

    Args:
        deployed: the parts, in the order in which they run.
        recording: what enters the first one.
        batch: samples that are run together, at most.
        progress: called with how many samples are done and how many there are, over all parts.

    Raises:
        UserError: as `count_network` and `count_integers`.
    """
    parts, floats, total = [], [], len(deployed) * recording.samples
    for index, part in enumerate(deployed):
        leaving = _Leaving(part.network.output_node.name)

        def report(done: int, before: int = index * recording.samples) -> None:
            progress(before + done, total)

        as_graph = count_network(
            part.network,
            recording,
            name=part.name,
            batch=batch,
            progress=report,
            observe=leaving if part.integers is None and part.code is None else None,
        )
        if part.code is not None:
            from nsc_deploy.energy.counting.program import count_program

            count = count_program(part.code, recording, name=part.name, batch=batch, observe=leaving.take)
            floats.append(as_graph)
        elif part.integers is None:
            count = as_graph
        else:
            # The emulator is loaded where integers are counted, and nowhere else.
            from nsc_deploy.energy.counting.integers import count_integers

            count = count_integers(
                part.integers, recording, name=part.name, batch=batch, observe=leaving.take
            )
            floats.append(as_graph)
        parts.append(replace(count, place=part.place))
        node = part.network.output_node
        recording = replace(recording, values=leaving.values(node.output_shape), signal=node.emits)
    return DeployedCount(tuple(parts), tuple(floats), recording.values)


@dataclass(frozen=True)
class _Leaving:
    """Keeps what leaves a part, batch after batch."""

    node: str
    batches: list[NDArray[Any]] = field(default_factory=list)

    def __call__(self, samples: slice, name: str, output: NDArray[Any]) -> None:
        if name == self.node:
            self.take(samples, output)

    def take(self, _samples: slice, output: NDArray[Any]) -> None:
        """The next batch, [T, N, ...]."""
        self.batches.append(output)

    def values(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """All batches, [T, N, *shape]."""
        joined = np.concatenate(self.batches, axis=1)
        return joined.reshape(*joined.shape[:2], *shape)
