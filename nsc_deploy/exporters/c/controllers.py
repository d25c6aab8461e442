"""Microcontrollers by name: what their data sheets say of memory and clock."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from nsc_deploy.errors import ConfigError


@dataclass(frozen=True)
class Shortage:
    """A memory, flash or RAM, of which more bytes are needed than are there."""

    memory: str
    used: int
    there: int

    def __str__(self) -> str:
        """In words."""
        return f"{self.used:,} bytes of {self.memory} are needed, {self.there:,} are there"


@dataclass(frozen=True)
class Controller:
    """A microcontroller.

    Attributes:
        name: as in `--target c:NAME`.
        title: maker and part.
        core: as GCC calls it.
        flash_bytes: for code and constants.
        ram_bytes: for state and stack.
        clock_mhz: the fastest.
        source: data sheet and place.
        note: what to know beside it, or None.
    """

    name: str
    title: str
    core: str
    flash_bytes: int
    ram_bytes: int
    clock_mhz: float
    source: str
    note: str | None = None

    @property
    def target(self) -> str:
        """As `--target` calls it."""
        return f"c:{self.name}"

    def lacks(self, flash_bytes: int, ram_bytes: int) -> tuple[Shortage, ...]:
        """Where so much has no room in it."""
        needs = (
            Shortage("flash", flash_bytes, self.flash_bytes),
            Shortage("RAM", ram_bytes, self.ram_bytes),
        )
        return tuple(one for one in needs if one.used > one.there)


@cache
def controllers() -> dict[str, Controller]:
    """All of them, by name."""
    text = resources.files("nsc_deploy.exporters.c").joinpath("controllers.toml").read_text("utf-8")
    return {name: Controller(name, **fields) for name, fields in tomllib.loads(text).items()}


def find_controller(name: str) -> Controller:
    """The microcontroller called `name`.

    Raises:
        ConfigError: it is not known.
    """
    if name not in controllers():
        known = ", ".join(f"c:{one}" for one in controllers())
        raise ConfigError(f"unknown microcontroller '{name}'", where="--target", hint=f"Known: {known}.")
    return controllers()[name]
