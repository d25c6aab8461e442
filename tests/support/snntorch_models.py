"""Small snnTorch models, and their export."""

import snntorch
import torch
from snntorch.export_nir import export_to_nir
from torch.nn import Linear, Sequential

from tests.support.foreign import full

ZERO = {"reset_mechanism": "zero", "reset_delay": False, "init_hidden": True}


def leaky(shape, *, beta=0.9, threshold=1.0, **options):
    return snntorch.Leaky(beta=full(shape, beta), threshold=full(shape, threshold), **{**ZERO, **options})


def chain():
    """Two layers of leaky neurons."""
    return Sequential(Linear(10, 12), leaky(12), Linear(12, 6), leaky(6, beta=0.8))


def exported(model, shape):
    return export_to_nir(model, torch.zeros(1, *shape), ignore_dims=[0])
