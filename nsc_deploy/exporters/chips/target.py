"""Chips as targets: they can be checked for, and not exported to."""

from functools import cached_property
from pathlib import Path

from nsc_deploy.errors import DataError, ExportError
from nsc_deploy.exporters.base import CheckResult, Deployment, ExportRequest
from nsc_deploy.exporters.chips.chip import Chip, bundled_chip, read_chip
from nsc_deploy.exporters.chips.fit import fit
from nsc_deploy.graphs.network import Network

WAY_OUT = (
    "Check only: no vendor's tool chain is driven from here. Export to lava, which computes with Loihi's "
    "arithmetic, or hand the NIR file to the chip's own tools."
)


class ChipTarget:
    """A chip known by its published limits.

    Args:
        name: as given to `--target`.
        file: the TOML file of a chip of the user's; None for one that ships with the package.
    """

    def __init__(self, name: str, file: Path | None = None) -> None:
        self.name = name
        self._file = file

    @cached_property
    def chip(self) -> Chip:
        """What is published about the chip.

        Raises:
            ConfigError: the file of the user's is wrong; the message names the field.
        """
        return bundled_chip(self.name) if self._file is None else read_chip(self._file)

    @property
    def summary(self) -> str:
        """One line for the list of targets."""
        return f"{self.chip.title}: published limits, check only"

    def check(self, network: Network, weight_bits: int | None = None) -> CheckResult:
        """Map a graph onto the chip: `nsc_deploy.exporters.chips.fit.fit`."""
        return fit(network, self.chip, weight_bits)

    def export(self, request: ExportRequest) -> Path:
        """Nothing is written.

        Raises:
            ExportError: always.
        """
        raise ExportError(
            f"'{self.name}' can be checked for, not exported to", where="--target", hint=WAY_OUT
        )

    def open(self, folder: Path) -> Deployment:
        """Nothing can be opened.

        Raises:
            DataError: always.
        """
        raise DataError(
            f"names the target '{self.name}', to which nothing is exported", where=folder, hint=WAY_OUT
        )


LOIHI1 = ChipTarget("loihi1")
LOIHI2 = ChipTarget("loihi2")
XYLO_AUDIO2 = ChipTarget("xylo-audio2")
SPECK = ChipTarget("speck")
