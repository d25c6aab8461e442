"""The compiled C code as a backend on this machine."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import BackendError
from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c.code import HERE, Code
from nsc_deploy.exporters.c.compilers import STANDARD, Compiler, host_compiler
from nsc_deploy.io.files import write_text
from nsc_deploy.io.scratch import scratch_folder
from nsc_deploy.io.text import printable
from nsc_deploy.verification.runner import RunTrace

HOST_OPTIONS = (*STANDARD[:1], "-O2")
"""A harness reads and writes files, so it is hosted; the code of the network is not."""
_SETTINGS = RunSettings()


class HostRunner:
    """Compiles the C code for this machine and runs it in a process of its own.

    Args:
        code: what is run.
        source: the text of NAME.c.
        settings: how; what is compiled ends with them.
        options: of the compiler, beside those that it needs.
        compiler: another one than that of this machine.

    Raises:
        BackendError: there is no compiler, or it refuses the code.
    """

    name = "host"

    def __init__(
        self,
        code: Code,
        source: str,
        settings: RunSettings = _SETTINGS,
        options: tuple[str, ...] = HOST_OPTIONS,
        compiler: Compiler | None = None,
    ) -> None:
        self._code = code
        self._settings = settings
        self.compiler = host_compiler() if compiler is None else compiler
        folder = settings.closing.enter_context(scratch_folder("c"))
        self._program = folder / "harness"
        sources = write_sources(folder, code, source, "host.c.jinja")
        self.compiler.build(sources, self._program, options, folder)

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest.

        Raises:
            BackendError: the program failed.
        """
        entering = self._code.entering(values)
        try:
            done = subprocess.run(
                [str(self._program)],
                input=harness_input(self._code, entering),
                capture_output=True,
                timeout=None,
                check=False,
            )
        except OSError as error:
            raise BackendError(f"the compiled code cannot be run ({error})", where=self._program) from error
        if done.returncode != 0:
            said = printable(done.stderr.decode("utf-8", "replace").strip(), 400)
            raise BackendError(f"the compiled code ended with status {done.returncode}: {said}")
        self._settings.advance(values.shape[1])
        return self._code.trace(done.stdout, entering)[0]


def write_sources(folder: Path, code: Code, source: str, template: str, **values: object) -> list[Path]:
    """The network and the program that runs it on recorded samples; `values` are for its template."""
    write_text(folder / f"{code.name}.h", code.header(HERE))
    write_text(folder / f"{code.name}.c", source)
    write_text(folder / "harness.c", code.harness(template, **values))
    return [folder / "harness.c", folder / f"{code.name}.c"]


def harness_input(code: Code, entering: NDArray[Any]) -> bytes:
    """What enters [steps, samples, numbers] as a harness reads it."""
    return np.array(entering.shape[:2], "<u4").tobytes() + code.packed(entering).tobytes()
