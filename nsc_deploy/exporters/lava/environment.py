"""The managed Python 3.10 environment Lava runs in.

lava-nc 0.10.0 fails at import on Python 3.11 and later, so it can never share this package's own
environment. It gets one of its own, under the user's data directory, which only the worker uses.
"""

import fcntl
import importlib.resources
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nsc_deploy.errors import BackendError

LAVA_VERSION = "0.10.0"
ENVIRONMENT_VARIABLE = "NSC_DEPLOY_LAVA_ENV"
MARKER = "nsc-deploy-lava.json"
PIP_TIMEOUT_S = 1800.0

Notify = Callable[[str], None]

NO_PYTHON_REMEDY = (
    "Get one with `pyenv install 3.10`, `uv python install 3.10` or, on Ubuntu, the package python3.10-venv "
    "from ppa:deadsnakes/ppa; then repeat, or name its interpreter with --python PATH."
)


@dataclass(frozen=True)
class LavaEnvironment:
    """A finished managed environment.

    Attributes:
        path: the environment's directory.
        python: its interpreter.
        python_version: for example "3.10.13".
        lava_version: version of lava-nc in it.
        numpy_version: version of numpy in it.
    """

    path: Path
    python: Path
    python_version: str
    lava_version: str
    numpy_version: str


def environment_path() -> Path:
    """Where the managed environment lives: $NSC_DEPLOY_LAVA_ENV, else the user's data directory."""
    override = os.environ.get(ENVIRONMENT_VARIABLE)
    if override:
        return Path(override).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("nsc-deploy")) / "lava-env"


def installed_environment(path: Path | None = None) -> LavaEnvironment | None:
    """The finished environment at `path` (default: `environment_path()`), or None if there is none."""
    path = environment_path() if path is None else path
    try:
        marker = json.loads((path / MARKER).read_text(encoding="utf-8"))
        environment = LavaEnvironment(
            path, _interpreter(path), str(marker["python"]), str(marker["lava-nc"]), str(marker["numpy"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return environment if environment.python.exists() else None


def require_environment() -> LavaEnvironment:
    """The finished environment.

    Raises:
        BackendError: it has not been installed.
    """
    environment = installed_environment()
    if environment is None:
        raise BackendError(
            "the managed Lava environment is not installed",
            where=environment_path(),
            hint="Install it with: nsc-deploy lava install. The twin of its arithmetic needs no Lava.",
        )
    return environment


def install_environment(
    python: Path | None = None, *, notify: Notify = lambda _message: None, force: bool = False
) -> LavaEnvironment:
    """Build the managed environment, or return the one that is there.

    It is built beside its final place and renamed into it when Lava has been imported once, so a
    killed installation leaves nothing that looks finished. Two installations at once take turns.

    Args:
        python: a Python 3.10 interpreter; found with findpython when None.
        notify: called with one line for every step taken.
        force: build anew even where a finished environment exists.

    Raises:
        BackendError: no Python 3.10, or pip failed (with the end of its output).
    """
    target = environment_path()
    with _locked(target):
        present = installed_environment(target)
        if present is not None and not force:
            return present
        interpreter = find_python(python)
        _remove_leftovers(target)
        building = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            _build(building, interpreter, notify)
            shutil.rmtree(target, ignore_errors=True)
            building.rename(target)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return require_environment()


def find_python(python: Path | None = None) -> Path:
    """A working Python 3.10 interpreter: `python` if given, else one found on this machine.

    Raises:
        BackendError: none found, or `python` is not a Python 3.10.
    """
    import findpython

    if python is not None:
        given = findpython.PythonVersion(python)
        if not given.is_valid() or (given.major, given.minor) != (3, 10):
            raise BackendError("is not a Python 3.10 interpreter", where=python, hint=NO_PYTHON_REMEDY)
        return python.absolute()
    found = findpython.find(3, 10)
    if found is None:
        raise BackendError(
            f"lava-nc {LAVA_VERSION} needs Python 3.10, and none was found", hint=NO_PYTHON_REMEDY
        )
    return Path(found.executable)


def constraints() -> str:
    """The pinned versions that go into the environment, in pip's constraints format."""
    return (importlib.resources.files(__package__) / "environment-constraints.txt").read_text("utf-8")


def _build(path: Path, interpreter: Path, notify: Notify) -> None:
    started = time.monotonic()
    notify(f"creating an environment with {interpreter}")
    _run([str(interpreter), "-I", "-m", "venv", str(path)], notify, "the environment could not be created")
    pins = path / "constraints.txt"
    pins.write_text(constraints(), encoding="utf-8")
    python = str(_interpreter(path))
    pip = [
        python,
        "-I",
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        "install",
        "--progress-bar=off",
    ]
    packages = [f"lava-nc=={LAVA_VERSION}", "numpy<2"]
    _run([*pip, "--constraint", str(pins), *packages], notify, "pip could not install Lava")
    notify("importing Lava once")
    probe = (
        "import json, sys, numpy, importlib.metadata as m; "
        "import lava.proc.lif.process, lava.proc.lif.models; "
        "print(json.dumps({'python': sys.version.split()[0], 'lava-nc': m.version('lava-nc'), "
        "'numpy': numpy.__version__}))"
    )
    versions = _run([python, "-I", "-c", probe], notify, "Lava was installed but cannot be imported")
    marker = {**json.loads(versions.splitlines()[-1]), "seconds": round(time.monotonic() - started, 1)}
    (path / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")


def _run(command: list[str], notify: Notify, failure: str) -> str:
    """Run a command, pass its lines on, and return its output; a failure shows the last lines."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    lines: list[str] = []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        env=clean,
    ) as process:
        try:
            for line in process.stdout or ():
                lines.append(line.rstrip())
                notify(line.strip())
            code = process.wait(timeout=PIP_TIMEOUT_S)
        except BaseException:
            process.kill()
            raise
    if code != 0:
        raise BackendError(
            f"{failure} (exit code {code}): {' | '.join(lines[-4:])}",
            hint="Check the network and the free space, then repeat: nsc-deploy lava install",
        )
    return "\n".join(lines)


def _interpreter(path: Path) -> Path:
    return path / "bin" / "python"


def _remove_leftovers(target: Path) -> None:
    for leftover in target.parent.glob(f".{target.name}.*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Hold the installation lock beside `target`; it goes with the process that holds it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(target.parent / f"{target.name}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise BackendError(
            f"cannot be written ({error.strerror})",
            where=target.parent,
            hint=f"Name another place with {ENVIRONMENT_VARIABLE}.",
        ) from error
    with os.fdopen(lock):
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
