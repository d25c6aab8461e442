"""The first answer of a report: what a system takes, in one value for terminal, page and JSON."""

import numpy as np
from pydantic import Field

from nsc_deploy.energy.pricing.price import MEMORY, PriceBook
from nsc_deploy.energy.report.measures import Meter
from nsc_deploy.energy.report.quantity import OF_SAMPLES, ON_DEMAND, UNITS, Answer, Quantity, Unanswered
from nsc_deploy.energy.sources import CountedSystem
from nsc_deploy.io.records import Record


class Figure(Record):
    """One quantity of a system over the samples; of one number for all of them the three are equal.

    All three are None where it cannot be told.
    """

    unit: str
    mean: float | None
    p95: float | None = Field(description="95th percentile over the samples, linear interpolation")
    worst: float | None
    sample: int | None = Field(description="the worst one, counted from 0; None for one number for all")
    step: int | None = Field(description="of that sample, the busiest one; None where it is of no step")
    lower_bound: bool = Field(description="whether a price is missing, so that it may be more")
    not_published: bool = Field(
        default=False, description="whether it is because something of the target or a price is not published"
    )
    why: str = Field(description="why it cannot be told, is a lower bound, or does not fit; else empty")


class Headline(Record):
    """What a whole system takes, and what that was measured on."""

    samples: int
    steps: int = Field(description="of a sample; of several parts the most")
    dt: float = Field(description="seconds that a step takes")
    synapses: int
    column: str = Field(description="accounting of the energy")
    target: str | None
    figures: dict[Quantity, Figure]

    def __getitem__(self, quantity: Quantity) -> Figure:
        """The figure of a quantity."""
        return self.figures[quantity]


def headline(system: CountedSystem, prices: PriceBook) -> Headline:
    """Measure a whole system once: every quantity but those on demand.

    Args:
        system: counted.
        prices: of its operations.
    """
    meter = Meter(system, tuple(range(len(system.parts))), prices, MEMORY)
    return Headline(
        samples=system.samples,
        steps=max(part.steps for part in system.parts),
        dt=system.parts[0].dt,
        synapses=sum(layer.synapses for part in system.parts for layer in part.layers),
        column=MEMORY.name,
        target=system.target,
        figures={one: _figure(one, meter.measure(one)) for one in Quantity if one not in ON_DEMAND},
    )


def _figure(quantity: Quantity, found: Answer) -> Figure:
    unit = UNITS[quantity]
    if isinstance(found, Unanswered):
        return Figure(
            unit=unit,
            mean=None,
            p95=None,
            worst=None,
            sample=None,
            step=None,
            lower_bound=False,
            not_published=found.not_published,
            why=str(found),
        )
    values = found.values
    worst = int(values.argmax()) if quantity in OF_SAMPLES else None
    return Figure(
        unit=unit,
        mean=float(values.mean()),
        p95=float(np.percentile(values, 95)),
        worst=float(values.max()),
        sample=worst,
        step=None if found.steps is None or worst is None else int(found.steps[worst]),
        lower_bound=bool(found.bound),
        not_published=found.not_published,
        why=found.bound or "; ".join(found.problems),
    )
