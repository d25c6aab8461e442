"""The NIR parts of a system, ready to be changed and measured again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.advice.prune import Activity, Mask, observe, removable, unmet
from nsc_deploy.energy.counting.operations import PartCount
from nsc_deploy.energy.systems import CountedSystem, Options, Work
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.formats.recording import Recording, read_recording
from nsc_deploy.graphs.network import Network


@dataclass(frozen=True)
class Bench:
    """A NIR part with all that is needed to change it and measure again.

    Attributes:
        outputs_decide: whether its outputs are what the system decides by.
    """

    work: Work
    part: PartCount
    network: Network
    recording: Recording
    activity: Activity
    outputs_decide: bool


def benches(counted: CountedSystem, options: Options) -> list[Bench]:
    """Read and run every NIR part of a system; the outputs of its last part decide, if labels are known."""
    readout = readout_of(counted, options)
    return [
        _bench(work, part, options, last=readout is not None and work is counted.work[-1])
        for work, part in zip(counted.work, counted.count.parts, strict=True)
        if work.graph.suffix == ".nir"
    ]


def _bench(work: Work, part: PartCount, options: Options, *, last: bool) -> Bench:
    recording = read_recording(work.recording)
    if options.samples is not None:
        recording = recording.first(options.samples)
    network = read_network(
        work.graph, dt=options.dt or recording.dt, reset=options.reset, signal=recording.signal
    )
    decides = last and recording.labels is not None
    return Bench(work, part, network, recording, observe(network, recording), decides)


def rounded(weight: NDArray[np.generic], bits: int) -> NDArray[np.float32]:
    """Weights on the 2^bits - 1 levels that lie evenly around 0, up to the largest of the layer."""
    values = np.asarray(weight, dtype=np.float64)
    step = float(np.abs(values).max(initial=0.0)) / (2 ** (bits - 1) - 1)
    return values.astype(np.float32) if step == 0 else (np.rint(values / step) * step).astype(np.float32)


def removals(network: Network, activity: Activity) -> tuple[dict[str, Mask], dict[str, Mask]]:
    """By layer: neurons that can be taken out, and inputs whose weights no event meets."""
    neurons = {node.name: removable(network, activity, node) for node in network.nodes}
    weights = {node.name: unmet(network, activity, node) for node in network.nodes}
    return _present(neurons), _present(weights)


def _present(masks: Mapping[str, Mask | None]) -> dict[str, Mask]:
    return {name: mask for name, mask in masks.items() if mask is not None}


def readout_of(counted: CountedSystem, options: Options) -> tuple[int, int] | None:
    """Classes and group, from the deployment of a run or the Output node of a graph."""
    if counted.deployment is not None:
        return counted.deployment.readout.classes, counted.deployment.readout.group
    work: Sequence[Work] = counted.work
    if work[-1].graph.suffix != ".nir":
        return None
    network = read_network(work[-1].graph, dt=counted.count.parts[-1].dt, reset=options.reset)
    metadata = network.output_node.parameters.metadata
    if "classes" not in metadata or "group" not in metadata:
        return None
    return int(metadata["classes"]), int(metadata["group"])
