"""Outputs that a framework gave itself, as one side of a comparison."""

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError
from nsc_deploy.graphs.formats.recording import OUTPUT_NAMES, read_array
from nsc_deploy.graphs.network import Network, Signal
from nsc_deploy.verification.runner import RunTrace

RECORDED = "recorded"


class RecordedRunner:
    """Answers with recorded outputs, batch after batch.

    Args:
        path: an .npy file, or an .npz file with "outputs" ("spikes", "y") or one array alone: [T, N, ...].
        network: whose outputs they should be.
        samples: how many entered when they were recorded.
        indices: [samples] the samples that will be asked for, in their order; all when None.

    Raises:
        DataError: missing, damaged, or outputs that no run of this graph could have.
    """

    name = RECORDED

    def __init__(
        self, path: Path, network: Network, samples: int, indices: NDArray[np.int64] | None = None
    ) -> None:
        shape = network.output_node.output_shape
        outputs = read_array(path, OUTPUT_NAMES)
        there = outputs.shape
        if outputs.dtype.kind not in "biuf" or len(there) < 3 or 0 in there or prod(there[2:]) != prod(shape):
            raise DataError(
                f"holds outputs of the shape {there}, and the graph gives {shape} a step and sample",
                where=path,
                hint="Time comes first, then the samples: [steps, samples, ...].",
            )
        if there[1] != samples:
            raise DataError(
                f"holds {there[1]} samples, and {samples} enter: nothing says which are which",
                where=path,
                hint="Record the outputs of all inputs, in their order; --samples of verify chooses of both.",
            )
        binary = network.output_node.emits is Signal.EVENTS
        if binary and not ((outputs == 0) | (outputs == 1)).all():
            raise DataError(
                f"holds outputs up to {np.abs(outputs).max():g}, and neurons of this graph fire at most once "
                "a step: the model is another network",
                where=path,
                hint="Spikes that count more than one (sinabs's MultiSpike, Rockpool's max_spikes_per_dt, "
                "snnTorch's graded_spikes_factor) are no spikes of NIR: train without, or say it to "
                "nsc-deploy mend.",
            )
        chosen = outputs if indices is None else outputs[:, indices]
        with np.errstate(over="ignore"):  # what float32 does not hold is refused as infinity
            values = chosen.astype(np.uint8 if binary else np.float32)
        self._outputs = values.reshape(*values.shape[:2], *shape)
        self._path = path
        self._given = 0

    def run(self, values: NDArray[Any]) -> RunTrace:
        """The next samples, as many as enter.

        Raises:
            DataError: another number of steps or samples was recorded.
        """
        start, self._given = self._given, self._given + values.shape[1]
        part = self._outputs[:, start : self._given]
        if part.shape[:2] != values.shape[:2]:
            raise DataError(
                f"holds {self._outputs.shape[0]} steps of {self._outputs.shape[1]} samples, and "
                f"{values.shape[0]} steps of {self._given} enter",
                where=self._path,
            )
        return RunTrace(part)
