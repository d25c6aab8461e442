"""The ways in which the potentials of a decoder reach its converter, each with its price."""

from collections.abc import Sequence

from nsc_deploy.deployment import Place
from nsc_deploy.energy.counting.operations import LayerCount
from nsc_deploy.energy.counting.potentials import Way, WayCount
from nsc_deploy.energy.pricing.price import Accounting, LayerEnergy, PriceBook, price_layer
from nsc_deploy.energy.report.schema import Counts, PotentialWay
from nsc_deploy.energy.report.statistics import sum_energy, sum_records

MEANINGS = {
    Way.POTENTIALS: "as the graphs have it: every potential leaves the chip in every step, and the host "
    "compares and weighs it",
    Way.RUNNING_SUM: "each neuron adds its weighted current, and a constant where it fires, to a sum of its "
    "own; no chip of ours has such neurons",
    Way.BY_EVENTS: "the host runs the decoder's last weights once more on the binary events in front of "
    "them, with weights of each step of their own: it only accumulates",
    Way.AT_ONCE: "the host adds up these events, weighted by their step, and runs the last weights once on "
    "the sum",
}


def price_ways(
    ways: Sequence[WayCount], prices: PriceBook, accountings: Sequence[Accounting]
) -> tuple[PotentialWay, ...]:
    """Each way with the prices of the chip and of its host, that of the graphs first.

    Args:
        ways: of a spiking system.
        prices: of both.
        accountings: the columns; one that says what an opponent would take is left out.
    """
    columns = [one for one in accountings if not one.spiking_only]
    return tuple(_price(one, prices, columns) for one in ways)


def _price(one: WayCount, prices: PriceBook, columns: Sequence[Accounting]) -> PotentialWay:
    def energies(column: Accounting) -> list[LayerEnergy]:
        return [
            price_layer(layer, prices.at(place), column, spiking=True)
            for place, layers in ((Place.CHIP, one.chip), (Place.HOST, one.host))
            for layer in layers
        ]

    return PotentialWay(
        way=one.way,
        meaning=MEANINGS[one.way],
        values_leaving=float(one.values.mean()),
        events_leaving=float(one.events.mean()),
        chip=_counts(one.chip),
        host=_counts(one.host),
        energy={column.name: sum_energy(energies(column)) for column in columns},
    )


def _counts(layers: Sequence[LayerCount]) -> Counts:
    return sum_records(Counts, [Counts(**one.per_sample.means(), dense=one.dense) for one in layers])
