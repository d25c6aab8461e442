"""Random numbers that belong to samples, not to batches."""

import torch
from torch import Tensor

BLOCK = 16
"""torch fills normals in blocks of this many; a sample takes whole blocks, so it never shares one."""


def standard_normals(samples: int, count: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """`count` independent N(0, 1) values for each sample [samples, count], of dtype and device of `like`.

    Sample after sample is drawn: while one generator runs over a data set in order, each sample gets the same
    values whatever the batches are cut into.
    """
    whole_blocks = -(-count // BLOCK) * BLOCK
    drawn = torch.randn(samples, whole_blocks, generator=generator, device=generator.device)
    return drawn[:, :count].to(like)


def uniform(samples: int, count: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """`count` independent values from [0, 1) for each sample [samples, count]; see `standard_normals`."""
    return torch.rand(samples, count, generator=generator, device=generator.device).to(like)
