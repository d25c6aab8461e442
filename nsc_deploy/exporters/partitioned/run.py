"""Runs a deployment in parts on recorded inputs, and the whole graph beside it.

Parts one after the other, as one backend among others.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.inputs import fits, named_or_own
from nsc_deploy.exporters.lava.lowering.pipeline import flat_events
from nsc_deploy.exporters.lava.run import Backend, Outcome, chip_spikes, chosen_samples
from nsc_deploy.exporters.lava.worker import SILENCE_S
from nsc_deploy.exporters.partitioned.read import SplitDeployment
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.readout import decide
from nsc_deploy.graphs.simulate import simulate_batches
from nsc_deploy.verification import measure_parity
from nsc_deploy.verification.runner import LayerTrace, Runner, RunTrace


def run_split_deployment(
    deployment: SplitDeployment,
    backend: Backend,
    *,
    samples: int | None = None,
    inputs: Path | None = None,
    silence_s: float = SILENCE_S,
    advance: Callable[[int], None] = lambda _samples: None,
) -> Outcome:
    """Run recorded samples through all parts and compare with the whole graph.

    Spikes are compared where they leave the chip, decisions where the whole ends.

    Args:
        deployment: the folder.
        backend: what runs the chip's part; the reference simulator runs those on the host.
        samples: how many; all when None.
        inputs: a recording other than the one in the folder.
        silence_s: seconds without a sign of life after which Lava is given up.
        advance: called with the number of samples finished since the last call.

    Raises:
        ConfigError: no inputs, or inputs that do not fit.
        BackendError: Lava is missing or failed.
    """
    recording = _recording(deployment, inputs)
    chosen = chosen_samples(recording, samples)
    entering = recording.values[:, chosen]
    labels = None if recording.labels is None else recording.labels[chosen]
    graph = deployment.chip.graph()
    started = perf_counter()
    events = flat_events(_through(deployment.front_end, entering))
    reference = flat_events(
        _through(graph, events.reshape(*events.shape[:2], *graph.input_node.output_shape))
    )
    spikes = reference
    if backend is not Backend.REFERENCE:
        started = perf_counter()
        spikes = chip_spikes(deployment.chip, backend, events, silence_s, advance)
    seconds = perf_counter() - started
    leaving = spikes.reshape(*spikes.shape[:2], *graph.output_node.output_shape)
    wanted, outputs = _through(deployment.whole, entering), _through(deployment.read_out, leaving)
    one, two = _decisions(deployment, wanted), _decisions(deployment, outputs)
    parity = measure_parity(reference, spikes)
    if one is not None and two is not None:
        parity = replace(
            parity,
            agreement=_share(one, two),
            reference_accuracy=None if labels is None else _share(one, labels),
            other_accuracy=None if labels is None else _share(two, labels),
        )
    return Outcome(
        backend=backend,
        samples=chosen,
        spikes=spikes,
        decisions=two,
        reference_decisions=one,
        labels=labels,
        parity=parity,
        seconds=seconds,
        output_error=None if deployment.read_out is None else _largest_difference(wanted, outputs),
    )


def _recording(deployment: SplitDeployment, inputs: Path | None) -> Recording:
    recording = named_or_own(inputs, deployment.recording, deployment.folder)
    fits(recording, deployment.whole, deployment.folder if inputs is None else inputs)
    return recording


def _through(network: Network | None, values: NDArray[Any]) -> NDArray[Any]:
    """What a graph makes of its inputs; they themselves where there is none."""
    return values if network is None else simulate_batches(network, values)[network.output_node.name]


def _decisions(deployment: SplitDeployment, outputs: NDArray[Any]) -> NDArray[np.int64] | None:
    classes, group = deployment.manifest.classes, deployment.manifest.group or 1
    if classes is None or outputs.ndim != 3 or outputs.shape[2] != classes * group:
        return None
    return decide(outputs, classes, group)


def _largest_difference(one: NDArray[Any], two: NDArray[Any]) -> float:
    return float(np.abs(one.astype(np.float64) - two).max())


def _share(one: NDArray[np.int64], two: NDArray[np.int64]) -> float:
    return float((one == two).mean())


class PartsRunner:
    """Feeds what leaves each part into the next.

    Args:
        name: of the backend, as shown.
        runners: one a part, in order.
    """

    def __init__(self, name: str, runners: Sequence[Runner]) -> None:
        self.name = name
        self._runners = tuple(runners)

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest; the layers are those of all parts."""
        layers: dict[str, LayerTrace] = {}
        for runner in self._runners:
            trace = runner.run(values)
            layers |= trace.layers
            values = trace.output
        return RunTrace(values, layers)
