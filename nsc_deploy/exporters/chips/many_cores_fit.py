"""Whether a graph fits a chip of many equal cores."""

from nsc_deploy.exporters.chips.chip import Chip, ManyCores
from nsc_deploy.exporters.chips.core_filling import Setting
from nsc_deploy.exporters.chips.figures import Figure
from nsc_deploy.exporters.chips.many_cores import Packing, pack, placement_of
from nsc_deploy.exporters.chips.many_cores_limits import Case, breaches
from nsc_deploy.exporters.chips.placement import Layout, Usage
from nsc_deploy.exporters.chips.timing import Timing
from nsc_deploy.exporters.chips.wiring import Wiring


def fit_many_cores(wiring: Wiring, timing: Timing, chip: Chip, layout: ManyCores, weight_bits: int) -> Layout:
    """Place a graph and hold it against the limits.

    Args:
        wiring: the graph.
        timing: the delays its synapses need.
        chip: the chip.
        layout: its cores.
        weight_bits: bits of a weight, its sign included.
    """
    case = Case(wiring, timing, Setting.of(chip, layout, weight_bits))
    packing = pack(wiring, timing, case.setting)
    pools, broken = _pools(case, packing), breaches(case, packing)
    if not packing.complete:
        return Layout(None, pools, broken)
    placement = placement_of(packing, chip, layout, timing, wiring.outputs)
    if packing.misfits:
        return Layout(None, pools, broken, placement.cores)
    return Layout(placement, pools, broken)


def _pools(case: Case, packing: Packing) -> tuple[Usage, ...]:
    layout = case.layout
    some_left = not packing.complete or bool(packing.misfits)

    def usage(pool: str, used: int, figure: Figure, *, at_least: bool = False) -> Usage:
        return Usage(pool, used, figure.value, at_least=at_least, lower=figure.lower)

    return (
        usage("cores", len(packing.fillings), layout.cores, at_least=some_left),
        usage("neurons", case.wiring.neurons, layout.neurons_per_chip),
        usage("synapses", case.wiring.synapses, layout.synapses_per_chip),
    )
