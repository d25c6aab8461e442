import pytest
import torch


@pytest.fixture(autouse=True)
def same_first_weights():
    """Every test draws the same first weights, whichever ran before it."""
    torch.manual_seed(0)
