"""The target "c", for any microcontroller or for one that is named."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nsc_deploy.errors import ConfigError, ExportError
from nsc_deploy.exporters.base import CheckResult, Deployment, ExportRequest
from nsc_deploy.exporters.c.rules import verdicts
from nsc_deploy.graphs.network import Network

if TYPE_CHECKING:
    from nsc_deploy.exporters.c.firmware import Firmware
    from nsc_deploy.exporters.chips.placement import Usage

DEFAULT_BITS = 8
FEWEST_BITS = 2


class CTarget:
    """C99 without heap for microcontrollers: integers, verified against an emulator in every spike.

    Args:
        controller: name of a microcontroller whose memory a graph must fit; None for any.
    """

    takes_samples = takes_onnx = True
    summary = "C99 for microcontrollers: integers, no heap, event-driven (c:NAME for one of them)"

    def __init__(self, controller: str | None = None) -> None:
        self._controller = controller
        self.name = "c" if controller is None else f"c:{controller}"

    # Imports inside the verbs: a check of the nodes loads nothing that writes or opens a folder.

    def check(self, network: Network, weight_bits: int | None = None) -> CheckResult:
        """A verdict on each node, and for one microcontroller whether it has the memory.

        Raises:
            ConfigError: bits that no weight has in C.
        """
        if weight_bits is not None and not FEWEST_BITS <= weight_bits <= DEFAULT_BITS:
            raise ConfigError(
                f"a weight has {FEWEST_BITS} to {DEFAULT_BITS} bits in C, not {weight_bits}",
                where="--bits",
                hint=f"Choose {FEWEST_BITS} to {DEFAULT_BITS}.",
            )
        bits = DEFAULT_BITS if weight_bits is None else weight_bits
        if network.conventional:
            from nsc_deploy.exporters.c.int8.check import operator_verdicts

            found = CheckResult(operator_verdicts(network), weight_bits=DEFAULT_BITS, pipeline_steps=0)
        else:
            found = CheckResult(verdicts(network), weight_bits=bits, pipeline_steps=0)
        if not found.fits:
            return found
        if self._controller is None:
            return replace(
                found,
                count_pools=lambda: _no_pools(network, bits),
                build_firmware=lambda: _firmware(network, found.weight_bits or DEFAULT_BITS),
            )
        from nsc_deploy.exporters.c.controllers import find_controller
        from nsc_deploy.exporters.c.fit import fit

        try:
            return fit(network, find_controller(self._controller), found)
        except ExportError as error:
            return found.refusing(error)

    def export(self, request: ExportRequest) -> Path:
        """Write a folder of C code; it is compiled and run where there is a compiler."""
        from nsc_deploy.exporters.c.deployment import write_c_deployment

        return write_c_deployment(request, self._controller)

    def open(self, folder: Path) -> Deployment:
        """Read a folder back: the emulator and the compiled code run it."""
        from nsc_deploy.exporters.c.deployment import read_c_deployment

        return read_c_deployment(folder).opened()


def _no_pools(network: Network, bits: int) -> "tuple[Usage, ...]":
    """No microcontroller has a limit where none is named; but the graph has to become a program.

    Raises:
        ExportError: a limit that shows on the populations alone.
    """
    if not network.conventional:
        from nsc_deploy.exporters.c.lowering import lower_to_program

        lower_to_program(network, bits=bits)
    return ()


def _firmware(network: Network, bits: int) -> "Firmware":
    from nsc_deploy.exporters.c.fit import build_firmware

    return build_firmware(network, bits, None)


TARGET = CTarget()
