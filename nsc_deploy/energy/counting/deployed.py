"""Counting what a deployment folder runs, part by part: what leaves one enters the next.

Integers are counted as integers, in the emulator of what runs them; beside them the graph that they were made
from is counted on the same inputs, with every part behind it, so that both can be laid side by side.
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
from nsc_deploy.graphs.network import Node


@dataclass(frozen=True)
class DeployedCount:
    """The counts of a deployment.

    Attributes:
        parts: of what runs.
        floats: where any part computes in integers, the graphs of all parts; else none.
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
    parts, graphs, total = [], [], len(deployed) * recording.samples
    asked = recording  # Of the graphs: what they hand on themselves, integers or not.
    for index, part in enumerate(deployed):
        node = part.network.output_node
        leaving, answered = _Leaving(node.name), _Leaving(node.name)

        def report(done: int, before: int = index * recording.samples) -> None:
            progress(before + done, total)

        as_graph = count_network(
            part.network, asked, name=part.name, batch=batch, progress=report, observe=answered
        )
        if part.code is not None:
            from nsc_deploy.energy.counting.program import count_program

            count = count_program(part.code, recording, name=part.name, batch=batch, observe=leaving.take)
        elif part.integers is not None:
            # The emulator is loaded where integers are counted, and nowhere else.
            from nsc_deploy.energy.counting.integers import count_integers

            count = count_integers(
                part.integers, recording, name=part.name, batch=batch, observe=leaving.take
            )
        elif asked is recording:
            count, leaving = as_graph, answered
        else:
            count = count_network(part.network, recording, name=part.name, batch=batch, observe=leaving)
        parts.append(replace(count, place=part.place))
        graphs.append(as_graph)
        same = leaving is answered
        recording = _handed_on(recording, leaving, node)
        asked = recording if same else _handed_on(asked, answered, node)
    integers = any(part.integers is not None or part.code is not None for part in deployed)
    return DeployedCount(tuple(parts), tuple(graphs) if integers else (), recording.values)


def _handed_on(entered: Recording, leaving: "_Leaving", node: Node) -> Recording:
    """What left a part, for the next one."""
    return replace(entered, values=leaving.values(node.output_shape), signal=node.emits)


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
