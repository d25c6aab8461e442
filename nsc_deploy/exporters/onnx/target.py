"""The target "onnx"."""

from pathlib import Path

import numpy as np

from nsc_deploy.exporters.base import CheckResult, Deployment, ExportRequest, Status
from nsc_deploy.exporters.float32 import (
    Written,
    check_exact,
    open_exact_deployment,
    write_exact_deployment,
)
from nsc_deploy.exporters.manifest import StateRecord
from nsc_deploy.exporters.onnx.models import sequence_model, step_model
from nsc_deploy.exporters.onnx.runner import SequenceRunner, StepRunner
from nsc_deploy.graphs.formats.onnx import write_onnx
from nsc_deploy.graphs.network import Network
from nsc_deploy.io.npz import save_npz

SEQUENCE = "sequence.onnx"
STEP = "step.onnx"
STATES = "initial-states.npz"

_NATIVE, _SUBSTITUTED = Status.NATIVE, Status.SUBSTITUTED
_BECOMES = {
    "Input": (_NATIVE, "the input"),
    "Output": (_NATIVE, "the output"),
    "Linear": (_NATIVE, "MatMul"),
    "Affine": (_NATIVE, "MatMul and Add"),
    "Conv1d": (_NATIVE, "Conv and Add"),
    "Conv2d": (_NATIVE, "Conv and Add"),
    "Scale": (_NATIVE, "Mul"),
    "Flatten": (_NATIVE, "Reshape"),
    "SumPool2d": (_SUBSTITUTED, "a Conv of each channel with ones"),
    "AvgPool2d": (_SUBSTITUTED, "a Conv of each channel with ones, divided by the size of the window"),
    "Delay": (_SUBSTITUTED, "a state that holds the last inputs"),
    "Threshold": (_SUBSTITUTED, "Greater"),
    **dict.fromkeys(
        ("LIF", "IF", "CubaLIF", "LI", "CubaLI", "I"), (_SUBSTITUTED, "its equations, as states")
    ),
}


class OnnxTarget:
    """ONNX, opset 18, standard operators: a whole sequence in one Scan, and a single step."""

    name = "onnx"
    summary = "ONNX in float32: one Scan over time, and a single step with its states for streaming"

    def check(self, network: Network, _weight_bits: int | None = None) -> CheckResult:
        """A verdict on each node."""
        return check_exact(network, _BECOMES)

    def export(self, request: ExportRequest) -> Path:
        """Write both models, run both in onnxruntime, and let the folder appear where both are right."""
        return write_exact_deployment(
            request, self.name, ("onnxruntime", "onnx"), lambda folder: _write(folder, request.network)
        )

    def open(self, folder: Path) -> Deployment:
        """Read the folder; the model of the whole sequence runs in onnxruntime."""
        return open_exact_deployment(
            folder, self.name, lambda network, _settings: SequenceRunner(folder / SEQUENCE, network)
        )


def _write(folder: Path, network: Network) -> Written:
    """Fill a folder with both models, and open them."""
    one = step_model(network)
    states = tuple(
        StateRecord(input=s.name, output=s.after, shape=s.shape, holds=s.holds) for s in one.states
    )
    write_onnx(folder / SEQUENCE, sequence_model(network))
    write_onnx(folder / STEP, one.model)
    save_npz(folder / STATES, {s.name: np.zeros((1, *s.shape), np.float32) for s in one.states})
    files = (
        (SEQUENCE, "the whole sequence [T, N, ...] in one Scan, from rest"),
        (STEP, "one step [N, ...] with its states as inputs and outputs"),
        (STATES, "the states of one sample at rest, by the name of the input"),
    )
    runners = SequenceRunner(folder / SEQUENCE, network), StepRunner(folder / STEP, states, network)
    return Written(files, runners, states=states)


TARGET = OnnxTarget()
