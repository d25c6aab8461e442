"""How two runs of one graph compare, layer by layer, and whether that is good enough."""

from nsc_deploy.verification.parity import (
    Divergence,
    Parity,
    coincidence,
    compare,
    first_divergence,
    rate_cosine,
)

__all__ = ["Divergence", "Parity", "coincidence", "compare", "first_divergence", "rate_cosine"]
