"""Does a graph fit a chip? Verdicts, pools, placement, rules that break, and what would mend them.

Chips are targets that can be checked for, and not exported to.
"""

from functools import cached_property
from pathlib import Path

from nsc_deploy.errors import DataError, ExportError
from nsc_deploy.exporters.base import CheckResult, Deployment, ExportRequest
from nsc_deploy.exporters.chips.chip import (
    NOT_PUBLISHED,
    Chip,
    LayerCores,
    ManyCores,
    bundled_chip,
    read_chip,
)
from nsc_deploy.exporters.chips.hidden_and_output import fit_hidden_and_output
from nsc_deploy.exporters.chips.layer_cores import fit_layer_cores
from nsc_deploy.exporters.chips.many_cores_limits import fit_many_cores
from nsc_deploy.exporters.chips.placement import Layout, Placement, Usage
from nsc_deploy.exporters.chips.projections import Obstacle, ProjectionGraph, build_projections
from nsc_deploy.exporters.chips.rules import Case, verdicts
from nsc_deploy.exporters.chips.timing import Timing, align
from nsc_deploy.exporters.chips.widths import delay_breaches, width_breaches, widths
from nsc_deploy.graphs.network import Network

DEFAULT_WEIGHT_BITS = 8


def fit(network: Network, chip: Chip, weight_bits: int | None = None) -> CheckResult:
    """Map a graph onto a chip.

    Args:
        network: the graph.
        chip: the chip.
        weight_bits: of a weight, its sign included; by default 8, or fewer where the chip has fewer.

    Returns:
        The answer; a graph that does not fit is no error.
    """
    bits = _weight_bits(chip, weight_bits)
    obstacles: list[Obstacle] = []
    graph, timing, layout = _mapped(network, chip, bits, obstacles)
    case = Case(network, chip, graph, tuple(obstacles))
    pools = (*layout.pools, *widths(network, chip, graph, timing, bits))
    breaches = (
        *layout.breaches,
        *width_breaches(network, chip, graph, bits),
        *delay_breaches(chip, graph, timing),
    )
    notes = (*(_unplaced(one) for one in obstacles), *_notes(chip, pools, layout.placement))
    return CheckResult(
        verdicts=verdicts(case),
        count_pools=lambda: pools,
        breaches=breaches,
        notes=notes,
        placement=layout.placement,
        partial=layout.partial,
        weight_bits=bits,
        chip=chip,
    )


def _unplaced(obstacle: Obstacle) -> str:
    return f"not placed, since node '{obstacle.node}' {obstacle.reason}. {obstacle.hint}"


def _weight_bits(chip: Chip, asked: int | None) -> int:
    if asked is not None:
        return asked
    most = chip.synapses.weight_bits.value
    return DEFAULT_WEIGHT_BITS if most is None else min(DEFAULT_WEIGHT_BITS, most)


def _mapped(
    network: Network, chip: Chip, bits: int, obstacles: list[Obstacle]
) -> tuple[ProjectionGraph | None, Timing | None, Layout]:
    graph: ProjectionGraph | None = None
    timing: Timing | None = None
    try:
        graph = build_projections(network)
        timing = align(graph, chip.synapses.connection_steps.value)
        return graph, timing, _laid_out(network, graph, timing, chip, bits)
    except Obstacle as obstacle:
        obstacles.append(obstacle)
        return graph, timing, Layout(None, ())


def _laid_out(network: Network, graph: ProjectionGraph, timing: Timing, chip: Chip, bits: int) -> Layout:
    if not graph.populations:
        raise Obstacle(
            network.output_nodes[0].name, "is reached by no neuron", "Put spiking neurons into the graph."
        )
    if isinstance(chip.layout, ManyCores):
        return fit_many_cores(graph, timing, chip, chip.layout, bits)
    if isinstance(chip.layout, LayerCores):
        return fit_layer_cores(network, graph, timing, chip, chip.layout)
    return fit_hidden_and_output(graph, timing, chip, chip.layout)


def _notes(chip: Chip, pools: tuple[Usage, ...], placement: Placement | None) -> tuple[str, ...]:
    everywhere = [*pools, *(pool for core in (placement.cores if placement else ()) for pool in core.pools)]
    disputed = {
        pool.pool: pool
        for pool in everywhere
        if pool.lower is not None and pool.used > pool.lower and not pool.over
    }
    notes = [
        f"{pool.pool}: {pool.used:,} is over the {pool.lower:,} that is published too (see below or --json)"
        for pool in disputed.values()
    ]
    notes += [f"{path}: {NOT_PUBLISHED} ({note})" for path, note in chip.unpublished.items()]
    return (*notes, *chip.notes)


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
        """Map a graph onto the chip: see `fit`."""
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
