"""NIR parts of a system with what they did; what can be taken out of each with its outputs as they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.advice.prune import (
    Activity,
    Mask,
    observe,
    removable,
    unused_inputs,
    without_neurons,
    without_weights,
)
from nsc_deploy.energy.counting.operations import PartCount
from nsc_deploy.energy.systems import CountedSystem, Options, read_part, readout_of_source
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.readout import decide, require_classes


@dataclass(frozen=True)
class ObservedPart:
    """A NIR part with all that is needed to change it and measure again.

    Attributes:
        count: its operations.
        network: the graph.
        recording: its inputs.
        activity: what it did over them.
        readout: classes and group, if its outputs are what the system decides by and have labels; else None.
    """

    count: PartCount
    network: Network
    recording: Recording
    activity: Activity
    readout: tuple[int, int] | None

    @property
    def name(self) -> str:
        """As the system calls it."""
        return self.count.name

    @property
    def accuracy(self) -> float | None:
        """Of its outputs as they are."""
        return self.accuracy_of(self.activity.outputs)

    def accuracy_of(self, outputs: NDArray[Any]) -> float | None:
        """The share of labels that outputs [T, N, *shape] decide right; None where they do not decide."""
        if self.readout is None:
            return None
        return float((decide(outputs, *self.readout) == self.recording.labels).mean())


def nir_parts(system: CountedSystem, options: Options) -> list[ObservedPart]:
    """Read and run every NIR part of a system; the outputs of its last part decide, if labels are known."""
    parts = []
    for work, count in zip(system.work, system.parts, strict=True):
        if work.coding is not None:
            continue
        recording, network = read_part(work, options)
        if network is None:
            continue
        decides = work is system.work[-1] and recording.labels is not None
        readout = readout_of_source(system, network) if decides else None
        if readout is not None:
            require_classes(recording.labels, readout[0])
        parts.append(ObservedPart(count, network, recording, observe(network, recording), readout))
    return parts


def removals(part: ObservedPart) -> tuple[dict[str, Mask], dict[str, Mask]]:
    """By layer: neurons that can be taken out, and inputs whose weights no event reaches."""
    neurons, weights = (
        {node.name: chosen(part.network, part.activity, node) for node in part.network.nodes}
        for chosen in (removable, unused_inputs)
    )
    return _present(neurons), _present(weights)


def _present(masks: Mapping[str, Mask | None]) -> dict[str, Mask]:
    return {name: mask for name, mask in masks.items() if mask is not None}


def without_unused(part: ObservedPart) -> Network | None:
    """The part with everything taken out that its outputs do not need; None where that is nothing."""
    neurons, weights = removals(part)
    if not neurons and not weights:
        return None
    pruned = without_neurons(without_weights(part.network, weights), neurons)
    same = np.array_equal(observe(pruned, part.recording).outputs, part.activity.outputs)
    return pruned if same else None
