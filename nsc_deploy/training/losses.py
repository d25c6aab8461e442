"""What training minimises, and how votes become a decision."""

import torch
from torch import Tensor
from torch.nn import functional


def classification_loss(votes: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error between the votes' mean over time and the one-hot label.

        L = mean over b, c of (mean over t of y[t, b, c] - [labels[b] = c])^2

    The poster prints the mean over steps of each step's squared error instead; its public code, like this,
    takes the mean over steps first, so that a neuron need not vote in every step.

    Args:
        votes: [T, B, classes].
        labels: [B] int64.
    """
    target = functional.one_hot(labels, votes.shape[2]).to(votes.dtype)
    return functional.mse_loss(votes.mean(0), target)


def spike_rate_loss(symbols: Tensor) -> Tensor:
    """Mean over samples b and transmitter neurons i of the squared spike count.

        L = mean over b, i of (sum over t of s[t, b, i])^2

    The count is taken sample by sample, so neither the batch size nor the number of devices changes
    the loss. The poster's public code squares the count of a whole batch of B samples instead, about
    B^2 times this value: its weights 1e-8 to 2e-7 at B = 64 are 4e-5 to 8e-4 here.

    Args:
        symbols: [T, B, S], 0 or 1.
    """
    return symbols.sum(0).square().mean()


def decide(votes: Tensor) -> Tensor:
    """The class with the largest mean vote over time, the first of equals.

    Args:
        votes: [T, B, classes].

    Returns:
        [B] int64.
    """
    return first_largest(votes.mean(0))


def first_largest(scores: Tensor) -> Tensor:
    """Index of the largest score along the last dimension, the first of equals (argmax promises no order)."""
    classes = scores.shape[-1]
    place = torch.arange(classes, device=scores.device).expand_as(scores)
    is_largest = scores == scores.max(-1, keepdim=True).values
    return torch.where(is_largest, place, classes - 1).min(-1).values
