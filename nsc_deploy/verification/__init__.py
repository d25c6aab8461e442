"""How two runs of one graph compare, layer by layer, and whether that is good enough."""

from nsc_deploy.verification.parity import (
    Divergence,
    Parity,
    coincidence,
    first_divergence,
    measure_parity,
    rate_cosine,
)

__all__ = ["Divergence", "Parity", "coincidence", "first_divergence", "measure_parity", "rate_cosine"]
