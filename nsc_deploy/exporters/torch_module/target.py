"""The targets "snntorch" and "norse"."""

from functools import partial
from pathlib import Path

from safetensors.numpy import save

from nsc_deploy.errors import ConfigError
from nsc_deploy.exporters.base import CheckResult, Deployment, ExportRequest, RunSettings, Status
from nsc_deploy.exporters.float32 import (
    Written,
    check_exact,
    open_exact_deployment,
    write_exact_deployment,
)
from nsc_deploy.exporters.torch_module.frameworks import NORSE as NORSE_FRAMEWORK
from nsc_deploy.exporters.torch_module.frameworks import SNNTORCH as SNNTORCH_FRAMEWORK
from nsc_deploy.exporters.torch_module.frameworks import Framework
from nsc_deploy.exporters.torch_module.write import write_module
from nsc_deploy.graphs.network import Network
from nsc_deploy.io.files import write_bytes, write_text
from nsc_deploy.verification.module_runner import ModuleProcess, ModuleRunner
from nsc_deploy.verification.runner import Runner

MODULE = "network.py"
WEIGHTS = "weights.safetensors"

_NATIVE, _SUBSTITUTED = Status.NATIVE, Status.SUBSTITUTED
_SHARED = {
    "Input": (_NATIVE, "what the module is called with"),
    "Output": (_NATIVE, "what it gives"),
    "Linear": (_NATIVE, "nn.Linear"),
    "Affine": (_NATIVE, "nn.Linear with a bias"),
    "Conv1d": (_NATIVE, "nn.Conv1d"),
    "Conv2d": (_NATIVE, "nn.Conv2d"),
    "Scale": (_SUBSTITUTED, "a product with a factor for each element"),
    "Flatten": (_NATIVE, "reshape"),
    "SumPool2d": (_SUBSTITUTED, "nn.AvgPool2d without its division"),
    "AvgPool2d": (_NATIVE, "nn.AvgPool2d"),
    "Delay": (_SUBSTITUTED, "a state that holds the last inputs"),
}
_SNNTORCH = {
    "LIF": (_NATIVE, "snn.Leaky with a reset in the same step"),
    "IF": (_NATIVE, "snn.Leaky with beta = 1"),
    "CubaLIF": (_SUBSTITUTED, "two of snn.Leaky, the synapse and the membrane"),
    "LI": (_SUBSTITUTED, "snn.Leaky without a reset, read at its potential"),
    "CubaLI": (_SUBSTITUTED, "two of snn.Leaky without a reset"),
    "I": (_SUBSTITUTED, "snn.Leaky with beta = 1 and without a reset, read at its potential"),
    "Threshold": (_SUBSTITUTED, "snnTorch's spike function"),
}
_NORSE = {
    "LIF": (_NATIVE, "SNNCell with the LIF box state"),
    "IF": (_NATIVE, "SNNCell with the LIF box state and no decay"),
    "CubaLIF": (_SUBSTITUTED, "two of SNNCell, the synapse and the membrane"),
    "LI": (_NATIVE, "SNNCell with the LI box state"),
    "CubaLI": (_SUBSTITUTED, "two of SNNCell with the LI box state"),
    "I": (_NATIVE, "SNNCell with the LI box state and no decay"),
    "Threshold": (_SUBSTITUTED, "Norse's threshold function"),
}


class ModuleTarget:
    """A Python module of one framework.

    Args:
        framework: which.
        summary: one line for the list of targets.
        neurons: what each neuron becomes.
    """

    def __init__(self, framework: Framework, summary: str, neurons: dict[str, tuple[Status, str]]) -> None:
        self._framework = framework
        self.name = framework.name
        self.summary = summary
        self._becomes = _SHARED | neurons

    def check(self, network: Network, _weight_bits: int | None = None) -> CheckResult:
        """A verdict on each node."""
        return check_exact(network, self._becomes)

    def export(self, request: ExportRequest) -> Path:
        """Write the module, load and run it, and let the folder appear where it is right."""
        return write_exact_deployment(
            request, self.name, (self.name, "torch"), lambda folder: self._write(folder, request.network)
        )

    def open(self, folder: Path) -> Deployment:
        """Read the folder; its module is Python code, and it is executed only where that is allowed."""
        return open_exact_deployment(folder, self.name, partial(self._process, folder / MODULE))

    def _write(self, folder: Path, network: Network) -> Written:
        """Fill a folder with the module, and open it."""
        module = write_module(network, self._framework)
        write_text(folder / MODULE, module.text)
        write_bytes(folder / WEIGHTS, save(module.weights))
        files = (
            (MODULE, f"the network as a {self._framework.title} module, with its use at the top"),
            (WEIGHTS, "its state dictionary"),
        )
        return Written(files, (ModuleRunner(folder / MODULE, network, self.name),))

    def _process(self, module: Path, network: Network, settings: RunSettings) -> Runner:
        if not settings.run_code:
            raise ConfigError(
                "is Python code, which running this deployment would execute, and that is not allowed",
                where=module,
                hint="A deployment may be somebody else's, and code can do whatever you can: "
                "read the file, then allow it with --run-code.",
            )
        return ModuleProcess(
            module,
            network,
            self.name,
            layers=settings.layers,
            silence_s=settings.silence_s,
            closing=settings.closing,
        )


SNNTORCH = ModuleTarget(
    SNNTORCH_FRAMEWORK, "snnTorch: a readable module of snn.Leaky neurons and its state dictionary", _SNNTORCH
)
NORSE = ModuleTarget(
    NORSE_FRAMEWORK, "Norse: a readable module of Norse's cells and its state dictionary", _NORSE
)
