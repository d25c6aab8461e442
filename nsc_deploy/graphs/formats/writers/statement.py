"""What is known of a model and not in its file, and whether it can be said of the framework and its neurons.

Nothing that is said goes by without a word: an argument of another framework, of a neuron that is not there
or has none, two words that contradict each other.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import nir

from nsc_deploy.errors import ConfigError, GraphError
from nsc_deploy.graphs.network import Reset, Signal
from nsc_deploy.io.text import shown

_NO = {"false", "no", "none", "0"}
_YES = {"true", "yes", "1"}
_NEURONS = (nir.LIF, nir.IF, nir.CubaLIF, nir.LI, nir.CubaLI, nir.I, nir.Threshold)


class Maker(StrEnum):
    """A framework whose files can be mended."""

    SNNTORCH = "snntorch"
    NORSE = "norse"
    SPIKINGJELLY = "spikingjelly"
    SINABS = "sinabs"
    ROCKPOOL = "rockpool"


@dataclass(frozen=True)
class Statement:
    """What is known of a model and not in its file.

    Attributes:
        dt: seconds a step; None where the file tells it.
        step_seconds: the real length of a step, where that of the file is nominal.
        reset: what a spike does; None for the framework's default.
        said: arguments of the model's neurons, in the framework's words: {"norm_input": "false"}; some also
            of one node: {"lif1.v_reset": "0.1"}.
        sums: by node, those whose outputs it adds up, where the exporter lost that.
        signal: what enters, to be written down; None leaves it open.
    """

    dt: float | None = None
    step_seconds: float | None = None
    reset: Reset | None = None
    said: Mapping[str, str] = field(default_factory=dict)
    sums: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    signal: Signal | None = None

    def flag(self, name: str, node: str | None = None, *, default: bool) -> bool:
        """A true or false argument, said of one node or of all.

        Raises:
            ConfigError: it is neither.
        """
        text = self.said.get(f"{node}.{name}", self.said.get(name))
        if text is None:
            return default
        if text.lower() not in _NO | _YES:
            raise ConfigError(f"{name}={shown(text)} is neither true nor false", where="--set")
        return text.lower() in _YES

    def number(self, name: str, node: str | None = None) -> float | None:
        """A number, said of one node or of all; None where nothing or "none" is said.

        Raises:
            ConfigError: it is no finite number.
        """
        text = self.said.get(f"{node}.{name}", self.said.get(name))
        if text is None or text.lower() == "none":
            return None
        try:
            number = float(text)
        except ValueError as error:
            raise ConfigError(f"{name}={shown(text)} is no number", where="--set") from error
        if not math.isfinite(number):
            raise ConfigError(f"{name}={shown(text)} is no finite number", where="--set")
        return number

    def says(self, name: str, wanted: str) -> bool:
        """Whether an argument is what is wanted: the same word, or number, or a word for the same."""
        text, wanted = self.said[name].lower(), wanted.lower()
        if wanted == "false":
            return text in _NO
        # A number is none for None: a potential held up at 0 is not held up nowhere.
        return text == wanted or _is_number(text, wanted)


def _is_number(text: str, wanted: str) -> bool:
    try:
        return float(text) == float(wanted)
    except ValueError:
        return False


@dataclass(frozen=True)
class Arguments:
    """What can be said of a framework's models.

    Attributes:
        writes: the neurons that its exporter writes.
        of_all: arguments that all neurons of a model share.
        of_each: those that each neuron may have its own of, and which neurons have them.
    """

    writes: tuple[type, ...]
    of_all: tuple[str, ...] = ()
    of_each: Mapping[str, tuple[type, ...]] = field(default_factory=dict)

    def require(self, statement: Statement, maker: Maker, nodes: Mapping[str, Any]) -> None:
        """Refuse what cannot be said of a file, and a file that the framework cannot have written.

        Raises:
            ConfigError: an argument that is unknown, or of no neuron in the file.
            GraphError: neurons that the framework does not write.
        """
        for text in statement.said:
            self._require(text, maker, nodes)
        for name, node in nodes.items():
            if isinstance(node, _NEURONS) and not isinstance(node, self.writes):
                raise GraphError(
                    f"is a {type(node).__name__}, which the exporter of {maker} does not write",
                    where=f"node '{name}'",
                    hint="Name the framework that wrote the file with --from.",
                )

    def _require(self, text: str, maker: Maker, nodes: Mapping[str, Any]) -> None:
        node, _, name = text.rpartition(".")
        if name not in {*self.of_all, *self.of_each}:
            known = ", ".join((*self.of_all, *self.of_each)) or "nothing"
            raise ConfigError(f"'{text}' is not known of {maker}", where="--set", hint=f"Known: {known}.")
        if name not in self.of_each:
            if node:
                raise ConfigError(
                    f"says {name} of '{node}' alone, and all neurons of a graph share it",
                    where="--set",
                    hint=f"Say {name} without a node, where it holds for all of them.",
                )
            return
        having = [one for one, value in nodes.items() if isinstance(value, self.of_each[name])]
        if not having or (node and node not in having):
            there = f"Those that have one: {', '.join(having)}." if having else None
            whose = f"'{node}', which is no neuron" if node else "a file without a neuron"
            raise ConfigError(f"says {name} of {whose} that has one", where="--set", hint=there)
