"""The frameworks that the spiking systems run on: one neuron, the same spikes in each."""

from typing import Literal, Protocol, get_args

from torch import Tensor

from nsc_deploy.errors import ConfigError

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
    raise ConfigError(
        f"there is no framework {framework!r}",
        where="framework",
        hint=f"Choose one of: {', '.join(FRAMEWORKS)}.",
    )
