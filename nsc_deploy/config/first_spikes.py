"""How strongly a neuron that fires once a sample has to inhibit itself, and where no weight fits beside that.

The inhibition fades as the potential does, so it has to begin the stronger the faster it fades and the longer
a sample is. It lies on one grid of 24 bits with the weights of its layer: what it takes, they do not have.
"""

import math

STRONGEST = 2.0**10
"""In the largest current of a neuron; weights are then rounded by about a hundredth of themselves."""
_SLOWEST = 1e6
"""The largest time constant there is."""


def inhibition(decay: float, steps: int) -> float:
    """Least inhibition that holds a neuron down for the rest of a sample, in its largest current.

    Args:
        decay: what a step keeps of the potential.
        steps: of a sample.
    """
    total, term = 0.0, 1.0
    for _ in range(steps - 1):
        total += term
        term /= decay
    return total


def refuse_drowned_weights(decay_steps: float, steps: int) -> None:
    """Refuse neurons that fire once where the inhibition leaves too little of the grid to the weights.

    Raises:
        ValueError: it does, with what fits.
    """
    if inhibition(1 - 1 / decay_steps, steps) <= STRONGEST:
        return
    most = next(few for few in range(steps, 0, -1) if inhibition(1 - 1 / decay_steps, few) <= STRONGEST)
    slow = _least_decay_steps(steps)
    way_out = f"choose at most {most} steps" + (
        "" if slow is None else f", or a decay_steps of {slow:g} or more"
    )
    raise ValueError(
        f"system.decay_steps: with coding ttfs a neuron inhibits itself for the rest of a sample, and at "
        f"{decay_steps:g} over {steps} steps so strongly that float32 rounds its weights away; {way_out}"
    )


def _least_decay_steps(steps: int) -> float | None:
    """The smallest time constant that fits, rounded up to tenths; None where none does."""
    if inhibition(1 - 1 / _SLOWEST, steps) > STRONGEST:
        return None
    low, high = 1.0, _SLOWEST
    while high - low > 1e-3:
        middle = (low + high) / 2
        if inhibition(1 - 1 / middle, steps) > STRONGEST:
            low = middle
        else:
            high = middle
    return math.ceil(10 * high) / 10
