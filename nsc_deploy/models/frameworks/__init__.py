"""The frameworks that the spiking systems run on: one neuron, the same spikes in each."""

from typing import Literal, Protocol, get_args

from torch import Tensor

from nsc_deploy.errors import ConfigError
from nsc_deploy.graphs.network import Reset

FrameworkName = Literal["snntorch", "norse"]
FRAMEWORKS: tuple[FrameworkName, ...] = get_args(FrameworkName)


class FrameworkLoop(Protocol):
    """A framework's own time loop over its own neuron."""

    def __call__(
        self, current: Tensor, beta: Tensor, threshold: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run T steps.

        Args:
            current: [T, B, *N].
            beta: [*N].
            threshold: [*N].
            state: potentials before the first step [B, *N].

        Returns:
            Spikes [T, B, *N] and the potentials after the last step [B, *N].
        """
        ...


class IntegratorLoop(Protocol):
    """A framework's own time loop over neurons without a leak."""

    def __call__(
        self, current: Tensor, threshold: float, slope: float, reset: Reset
    ) -> tuple[Tensor, Tensor]:
        """Run T steps from rest.

        Args:
            current: [T, B, *N].
            threshold: a spike needs a potential above it.
            slope: of the sigmoid whose derivative stands for that of a spike.
            reset: what a spike does to the potential.

        Returns:
            Spikes and potentials after the reset, both [T, B, *N].
        """
        ...


def framework_loop(framework: str) -> FrameworkLoop:
    """The loop of one framework; only that framework is imported.

    Raises:
        ConfigError: no such framework.
    """
    if framework == "snntorch":
        from nsc_deploy.models.frameworks.snntorch import SnntorchLoop

        return SnntorchLoop()
    if framework == "norse":
        from nsc_deploy.models.frameworks.norse import NorseLoop

        return NorseLoop()
    raise _unknown(framework)


def integrator_loop(framework: str) -> IntegratorLoop:
    """The loop of one framework over neurons without a leak; only that framework is imported.

    Raises:
        ConfigError: no such framework.
    """
    if framework == "snntorch":
        from nsc_deploy.models.frameworks.snntorch import SnntorchIntegrator

        return SnntorchIntegrator()
    if framework == "norse":
        from nsc_deploy.models.frameworks.norse import NorseIntegrator

        return NorseIntegrator()
    raise _unknown(framework)


def _unknown(framework: str) -> ConfigError:
    return ConfigError(
        f"there is no framework {framework!r}",
        where="framework",
        hint=f"Choose one of: {', '.join(FRAMEWORKS)}.",
    )
