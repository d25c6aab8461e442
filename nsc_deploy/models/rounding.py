"""Training with rounded weights: the chip's weights in the forward pass, the gradient straight through.

The stages that an export can put on a chip compute with weights on the grids of `graphs.row_grid` and with
decays of 12 bits; the optimiser changes the weights behind them, as if nothing had been rounded.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nsc_deploy.channels.modulation import straight_through
from nsc_deploy.errors import ConfigError
from nsc_deploy.graphs.dyadic import on_row_grids
from nsc_deploy.models.neurons import Leaky
from nsc_deploy.models.stage import Rows, Stage
from nsc_deploy.models.system import System

DECAY_UNITY = 4096
"""A decay is a whole multiple of 1 / this."""


def rounded_parameters(system: System, bits: int) -> dict[str, Tensor]:
    """The rounded weights by parameter name, for `torch.func.functional_call`.

    The gradient of each goes to the parameter behind it, unchanged.
    """
    names = {parameter: name for name, parameter in system.named_parameters()}
    return {
        names[parameter]: straight_through(parameter, value) for parameter, value in _rounded(system, bits)
    }


@torch.no_grad()
def round_weights(system: System, bits: int) -> None:
    """Put the weights on their grids for good."""
    for parameter, value in list(_rounded(system, bits)):
        parameter.copy_(value)


@torch.no_grad()
def round_decays(system: System) -> None:
    """Put the decays on multiples of 1/4096.

    Raises:
        ConfigError: neurons leak so little that nothing would be left of it.
    """
    for stage in _chip_stages(system):
        for neurons in stage.modules():
            if isinstance(neurons, Leaky):
                leak = torch.round((1 - neurons.beta.double()) * DECAY_UNITY)
                if bool((leak == 0).any()):
                    raise ConfigError(
                        f"leak less than 1/{2 * DECAY_UNITY} of their potential a step: rounded, nothing",
                        where="the neurons",
                        hint="Choose a smaller system.decay_steps (and gate_decay_steps).",
                    )
                neurons.beta.copy_((1 - leak / DECAY_UNITY).float())


def _chip_stages(system: System) -> Iterator[Stage]:
    for side in (system.transmitter, system.receiver):
        yield from (stage for stage in side.stages if stage.rows())


def _rounded(system: System, bits: int) -> Iterator[tuple[nn.Parameter, Tensor]]:
    for stage in _chip_stages(system):
        for rows in stage.rows():
            yield from _rounded_rows(rows, bits)


def _rounded_rows(rows: Rows, bits: int) -> Iterator[tuple[nn.Parameter, Tensor]]:
    parts = [one.detach().reshape(len(one), -1) for one in rows.weights]
    bias = None if rows.bias is None else rows.bias.detach().numpy()
    rounded = torch.from_numpy(on_row_grids(torch.cat(parts, 1).numpy(), bits, bias))
    widths = [part.shape[1] for part in parts]
    for parameter, part in zip(rows.weights, torch.split(rounded, widths, 1), strict=True):
        yield parameter, part.reshape(parameter.shape)
