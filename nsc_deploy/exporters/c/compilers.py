"""The C compilers of this machine: where they are, how they are called, and what to install without one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from nsc_deploy.errors import BackendError
from nsc_deploy.io.text import printable

STANDARD = ("-std=c99", "-ffreestanding")
STRICT = ("-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
"""What generated code is clean of."""
SECONDS = 300.0
HOST_HINT = "Install a C compiler (on Debian and Ubuntu: apt-get install gcc; or: pip install ziglang)."
ARM_HINT = "On Debian and Ubuntu: apt-get install gcc-arm-none-eabi qemu-system-arm"


@dataclass(frozen=True)
class Compiler:
    """A compiler that is there.

    Attributes:
        command: how it is called.
        version: its first line about itself.
        cache: where it keeps what it has made of its own libraries; None for one that keeps nothing.
    """

    command: tuple[str, ...]
    version: str
    cache: Path | None = None

    def build(
        self,
        sources: Sequence[Path],
        out: Path,
        options: Sequence[str],
        folder: Path,
        libraries: Sequence[str] = (),
    ) -> str:
        """Compile and link (or, with -c, only compile) and return what it said.

        Args:
            sources: C files.
            out: the file to write.
            options: before the sources.
            folder: where it works, and where headers are looked for.
            libraries: behind the sources.

        Raises:
            BackendError: it failed or took too long; with its first words.
        """
        command = [*self.command, *options, "-iquote", str(folder), *map(str, sources), *libraries]
        command += ["-o", str(out)]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
                env=None if self.cache is None else _zig_environment(self.cache, folder),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BackendError(f"the compiler did not work ({error})", where=self.command[0]) from error
        if done.returncode != 0:
            raise BackendError(
                f"the compiler refused the code: {printable(done.stderr.strip(), 800)}",
                where=self.command[0],
                hint="Please report this with the graph: it is a fault of the exporter.",
            )
        return done.stderr


@cache
def host_compiler() -> Compiler:
    """The C compiler of this machine.

    Raises:
        BackendError: there is none.
    """
    for name in ("cc", "gcc"):
        path = shutil.which(name)
        if path is not None:
            return Compiler((path,), _version((path,)))
    found = clang()
    if found is not None:
        return found
    raise BackendError("there is no C compiler here", hint=HOST_HINT)


@cache
def clang() -> Compiler | None:
    """Clang, from the system or from the package ziglang; None where there is neither."""
    path = shutil.which("clang")
    if path is not None:
        return Compiler((path,), _version((path,)))
    if find_spec("ziglang") is None:
        return None
    import platformdirs

    command = (sys.executable, "-P", "-m", "ziglang", "cc")
    cache = platformdirs.user_cache_path("nsc-deploy") / "zig"
    return Compiler(command, _version(command, _zig_environment(cache, cache)), cache)


@cache
def arm_compiler() -> Compiler:
    """The cross compiler for Cortex-M.

    Raises:
        BackendError: there is none.
    """
    path = shutil.which("arm-none-eabi-gcc")
    if path is None:
        raise BackendError("there is no arm-none-eabi-gcc here", hint=ARM_HINT)
    return Compiler((path,), _version((path,)))


def _zig_environment(cache: Path, folder: Path) -> dict[str, str]:
    """Where Zig keeps its libraries, and beside the sources what it makes of them: not in the user's home."""
    places = {"ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(folder / "zig-cache")}
    return {**os.environ, **places}


def _version(command: tuple[str, ...], environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            [*command, "--version"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(
            f"the compiler did not work ({error})", where=command[0], hint=HOST_HINT
        ) from error
    return printable(done.stdout.split("\n", 1)[0].strip(), 120) or command[0]
