"""Parts one after the other, as one backend among others."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from nsc_deploy.verification.runner import LayerTrace, Runner, RunTrace


class PartsRunner:
    """Feeds what leaves each part into the next.

    Args:
        name: of the backend, as shown.
        runners: one a part, in order.
    """

    def __init__(self, name: str, runners: Sequence[Runner]) -> None:
        self.name = name
        self._runners = tuple(runners)

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest; the layers are those of all parts."""
        layers: dict[str, LayerTrace] = {}
        for runner in self._runners:
            trace = runner.run(values)
            layers |= trace.layers
            values = trace.output
        return RunTrace(values, layers)
