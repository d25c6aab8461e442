"""The command line as a person and a shell meet it: help, exit codes, messages, start-up."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic.fields import FieldInfo
from rich.text import Text
from typer.main import get_command

from nsc_deploy.cli.app import app
from nsc_deploy.cli.export import ScalesOption
from nsc_deploy.cli.mend import MakerOption
from nsc_deploy.cli.options import ResetOption, SignalOption
from nsc_deploy.cli.train_options import DOTTED
from nsc_deploy.config.families import FAMILIES
from nsc_deploy.exporters.base import ScaleGranularity
from nsc_deploy.graphs.formats.writers.statement import Maker
from nsc_deploy.graphs.network import Reset, Signal
from nsc_deploy.io.records import model_at

# typer itself asks for pydantic where a command has parameters; we do not.
HEAVY = {
    "torch",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "numba",
    "numpy",
    "nir",
    "h5py",
    "plotly",
    "scipy",
    "lightning",
}
MODULES_AT_START = 250  # typer's, and those of Python


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))


ALL_COMMANDS = list(commands(get_command(app)))


def nsc_deploy(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The real command, in a process of its own and away from the source tree."""
    call = [sys.executable, "-m", "nsc_deploy", *arguments]
    settings = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, **options}
    return subprocess.run(call, check=False, **settings)


def ending(body: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A command with this body, ended as every command of ours is ended."""
    script = textwrap.dedent(
        """
        import os, signal, sys, typer
        from nsc_deploy.cli.exit_codes import run_to_exit_code
        from nsc_deploy.errors import UserError
        app = typer.Typer(pretty_exceptions_enable=False)
        @app.command()
        def command():
        {body}
        sys.exit(run_to_exit_code(app))
        """
    ).replace("{body}", textwrap.indent(textwrap.dedent(body), "    "))
    settings = {"capture_output": True, "text": True, **options}
    return subprocess.run([sys.executable, "-c", script], check=False, **settings)


def _fields_of(table: str, name: str) -> list[FieldInfo]:
    """A field of an experiment, in each family that has it."""
    models = (model_at(family, (table,)) for family in FAMILIES)
    return [model.model_fields[name] for model in models if model and name in model.model_fields]


def _default_of(table: str, name: str) -> object:
    return _fields_of(table, name)[0].get_default(call_default_factory=True)


class TestHelp:
    @pytest.fixture(scope="class")
    def probe(self) -> dict[str, str]:
        """The help of every command, asked for in one process, and what that process imported."""
        script = textwrap.dedent(
            """
            import contextlib, io, json, sys
            from nsc_deploy.cli.app import app
            pages = {}
            for path in json.loads(sys.argv[1]):
                page = io.StringIO()
                with contextlib.redirect_stdout(page):
                    try:
                        app([*path, "--help"], prog_name="nsc-deploy")
                    except SystemExit as end:
                        page.write(f"exit {end.code}")
                pages[" ".join(path)] = page.getvalue()
            pages["imported"] = " ".join({name.partition(".")[0] for name in sys.modules})
            print(json.dumps(pages))
            """
        )
        asked = [sys.executable, "-c", script, json.dumps(ALL_COMMANDS)]
        answer = subprocess.run(asked, capture_output=True, text=True, check=True)
        pages: dict[str, str] = json.loads(answer.stdout)
        return pages

    @pytest.mark.parametrize("path", ALL_COMMANDS, ids=" ".join)
    def test_every_command_explains_itself(self, probe: dict[str, str], path: tuple[str, ...]) -> None:
        page = probe[" ".join(path)]
        assert page.endswith("exit 0")
        assert " ".join(("Usage: nsc-deploy", *path)) in page
        assert len(page.split("Usage:")[1].strip().splitlines()) > 2

    def test_help_imports_nothing_heavy(self, probe: dict[str, str]) -> None:
        assert HEAVY.intersection(probe["imported"].split()) == set()

    def test_help_comes_at_once(self) -> None:
        """Loading modules is what a start takes; how long that lasts is up to the machine."""
        call = [sys.executable, "-X", "importtime", "-m", "nsc_deploy", "--help"]
        answer = subprocess.run(call, capture_output=True, text=True, check=True)
        assert 0 < answer.stderr.count("import time:") < MODULES_AT_START

    def test_the_list_of_commands_leaves_nothing_out(self, probe: dict[str, str]) -> None:
        """Click cuts what does not fit a line, and ends it with dots."""
        listed = probe[""].split("Commands:")[1].removesuffix("exit 0").strip().splitlines()
        assert [line.split()[0] for line in listed] == [path[0] for path in ALL_COMMANDS if len(path) == 1]
        assert [line for line in listed if "..." in line] == []

    @pytest.mark.parametrize("path", ALL_COMMANDS, ids=" ".join)
    def test_paragraphs_can_be_wrapped(self, path: tuple[str, ...]) -> None:
        """Typer keeps the line ends of all paragraphs but the first, also on a narrower terminal."""
        assert [text for text in _command(path).help.split("\n\n")[1:] if "\n" in text.strip()] == []

    def test_bare_command_shows_the_help(self) -> None:
        answer = nsc_deploy()
        assert "Usage: nsc-deploy" in answer.stdout + answer.stderr

    def test_every_option_is_explained(self) -> None:
        unexplained = [
            f"{' '.join(path)} {parameter.name}"
            for path in ALL_COMMANDS
            for parameter in _command(path).params
            if parameter.param_type_name == "option" and not parameter.help and parameter.name != "help"
        ]
        assert unexplained == []

    def test_every_argument_is_explained(self) -> None:
        unexplained = [
            f"{' '.join(path)} {parameter.name}"
            for path in ALL_COMMANDS
            for parameter in _command(path).params
            if parameter.param_type_name == "argument" and not parameter.help
        ]
        assert unexplained == []

    def test_the_defaults_of_training_are_those_of_an_experiment(self) -> None:
        """Stated by hand, since help must not wait for the models that hold them."""
        texts = {parameter.name: parameter.help for parameter in _command(("train",)).params}
        for option, dotted in DOTTED.items():
            default = _default_of(*dotted.split("."))
            told = re.search(r"; default ([^ ]+)\.$", texts[option])
            if default is None:
                assert told is None, option
            else:
                assert told is not None, option
                assert told[1] == (f"{default:g}" if isinstance(default, int | float) else default), option

    @pytest.mark.parametrize(
        "option", ["symbols", "channel", "epochs", "batch_size", "learning_rate", "threads"]
    )
    def test_where_systems_have_defaults_of_their_own_help_says_so(self, option: str) -> None:
        texts = {parameter.name: parameter.help for parameter in _command(("train",)).params}
        fields = _fields_of(*DOTTED[option].split("."))
        defaults = {str(one.get_default(call_default_factory=True)) for one in fields}
        assert len(defaults) > 1
        assert re.search(r"; (other systems|text|mem-deepsc): .*; default ", texts[option])

    def test_ranges_that_training_states_are_those_of_an_experiment(self) -> None:
        texts = {parameter.name: parameter.help for parameter in _command(("train",)).params}
        checked = 0
        for option, dotted in DOTTED.items():
            stated = re.search(r", (-?[\d.]+) to ([\d.]+);", texts[option])
            if stated:
                table, name = dotted.split(".")
                limits: dict[str, Any] = {
                    type(one).__name__: one for one in _fields_of(table, name)[0].metadata
                }
                high = limits["Le"].le if "Le" in limits else limits["Lt"].lt
                assert (float(stated[1]), float(stated[2])) == (limits["Ge"].ge, high), option
                checked += 1
        assert checked > 5


def _command(path: tuple[str, ...]) -> Any:
    command: Any = get_command(app)
    for name in path:
        command = command.commands[name]
    return command


class TestWrongUsage:
    @pytest.mark.parametrize(
        ("arguments", "named"),
        [(("trian",), "trian"), (("--versoin",), "--versoin"), (("--version=3",), "--version")],
    )
    def test_a_typo_is_named_and_ends_with_2(self, arguments: tuple[str, ...], named: str) -> None:
        answer = nsc_deploy(*arguments)
        assert answer.returncode == 2
        assert named in answer.stderr
        assert "Traceback" not in answer.stderr

    @pytest.mark.parametrize("path", [path for path in ALL_COMMANDS if path], ids=" ".join)
    def test_an_unknown_option_is_named_everywhere(
        self, path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as end:
            app([*path, "--no-such-option"], prog_name="nsc-deploy")
        assert end.value.code == 2
        assert "--no-such-option" in capsys.readouterr().err

    def test_version_is_the_installed_one(self, tmp_path: Path) -> None:
        answer = nsc_deploy("--version", cwd=tmp_path)
        assert answer.stdout == f"nsc-deploy {version('nsc-deploy')}\n"


class TestCompletion:
    def test_words_of_training_are_those_of_an_experiment(self) -> None:
        command, checked = _command(("train",)), 0
        for option, dotted in DOTTED.items():
            wanted = {word for field in _fields_of(*dotted.split(".")) for word in _choices(field.annotation)}
            assert sorted(_offered(command, option)) == sorted(wanted), option
            checked += bool(wanted)
        assert checked > 7

    @pytest.mark.parametrize(
        ("path", "option", "among", "not_among"),
        [
            (("check",), "target", "loihi1", "all"),
            (("export",), "target", "onnx", "loihi1"),
            (("energy", "report"), "profile", "horowitz-45nm", "loihi1"),
            (("energy", "report"), "target", "speck", "horowitz-45nm"),
            (("energy", "profiles"), "name", "loihi", "lava"),
            (("data", "info"), "name", "shd", "all"),
        ],
    )
    def test_names_that_exist_are_offered(
        self, path: tuple[str, ...], option: str, among: str, not_among: str
    ) -> None:
        offered = _offered(_command(path), option)
        assert among in offered
        assert not_among not in offered

    def test_a_shell_gets_them(self, tmp_path: Path) -> None:
        words = {"COMP_WORDS": "nsc-deploy check a.nir --target loi", "COMP_CWORD": "4"}
        environment = {**os.environ, **words, "_NSC_DEPLOY_COMPLETE": "complete_bash"}
        assert nsc_deploy(env=environment, cwd=tmp_path).stdout.split() == ["loihi1", "loihi2"]


def _choices(annotation: Any) -> list[str]:
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return [member.value for member in annotation]
    return list(get_args(annotation)) if get_origin(annotation) is Literal else []


def _offered(command: Any, option: str) -> list[str]:
    parameter = next(one for one in command.params if one.name == option)
    context = command.make_context("nsc-deploy", [], resilient_parsing=True)
    return [item.value for item in parameter.shell_complete(context, "")]


class TestQuickAnswers:
    """What is wrong with an option is told before anything is loaded that takes seconds."""

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--system", "atneurosc"),
            ("--set", "training.epoch=1"),
            ("--set", "trainig.epochs=1"),
            ("--devices", "9"),
        ],
        ids=" ".join,
    )
    def test_without_torch(self, arguments: tuple[str, ...], tmp_path: Path) -> None:
        script = "import sys; sys.modules['torch'] = None; from nsc_deploy.cli.app import main; main()"
        asked = [sys.executable, "-c", script, "train", "--out", "run", *arguments]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert answer.returncode == 2
        assert answer.stderr.startswith(f"error: {arguments[0]}")
        assert list(tmp_path.iterdir()) == []


class TestEnding:
    def test_a_user_error_is_a_message_and_2(self) -> None:
        answer = ending("raise UserError('is broken', where='a.nir', hint='Mend it.')")
        assert (answer.returncode, answer.stdout) == (2, "")
        assert answer.stderr == "error: a.nir: is broken\nMend it.\n"

    @pytest.mark.parametrize("no_color", ["", "1"])
    def test_an_error_is_red_on_a_terminal_unless_no_color_is_set(self, no_color: str) -> None:
        terminal, theirs = pty.openpty()
        ending(
            "raise UserError('is broken')",
            capture_output=False,
            stderr=theirs,
            env={**os.environ, "NO_COLOR": no_color},
        )
        os.close(theirs)
        told = os.read(terminal, 100)
        os.close(terminal)
        assert told.startswith(b"error: is broken" if no_color else b"\x1b[31merror: is broken")

    def test_a_command_says_no_with_its_own_code(self) -> None:
        assert ending("raise typer.Exit(1)").returncode == 1
        assert ending("raise typer.Exit()").returncode == 0
        assert ending("sys.exit('a reason')").stderr == "error: a reason\n"

    def test_a_bug_keeps_its_traceback_and_is_no_answer_of_a_check(self) -> None:
        answer = ending("1 / 0")
        assert answer.returncode == 70
        assert "ZeroDivisionError" in answer.stderr
        assert "Traceback" in answer.stderr

    def test_an_operating_system_error_of_ours_keeps_its_traceback(self) -> None:
        answer = ending("os.close(9999)")
        assert answer.returncode == 70
        assert "Bad file descriptor" in answer.stderr
        assert "Traceback" in answer.stderr

    def test_a_full_disk_is_a_message_and_2(self) -> None:
        answer = ending("print('done so far'); os.write(os.open('/dev/full', os.O_WRONLY), b'x')")
        assert (answer.returncode, answer.stdout) == (2, "done so far\n")
        assert answer.stderr.startswith("error: No space left on device\nFree some space")

    def test_too_many_open_files_is_a_message_that_names_the_limit(self) -> None:
        body = """
            import resource
            resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
            files = [open('/dev/null') for _ in range(30)]
        """
        answer = ending(body)
        assert answer.returncode == 2
        assert answer.stderr.startswith("error: /dev/null: Too many open files\n")
        assert "ulimit -n" in answer.stderr

    def test_no_memory_is_a_message_and_2(self) -> None:
        answer = ending("import numpy; numpy.ones(1 << 50)")
        assert answer.returncode == 2
        assert "out of memory" in answer.stderr
        assert "Traceback" not in answer.stderr

    def test_an_output_on_a_full_disk_is_a_message_and_2(self) -> None:
        with Path("/dev/full").open("w") as full:
            answer = nsc_deploy("--version", capture_output=False, stdout=full, stderr=subprocess.PIPE)
        assert answer.returncode == 2
        assert answer.stderr.startswith("error: No space left on device")

    @pytest.mark.parametrize("lines", [1, 100_000], ids=["at the last flush", "half way"])
    def test_a_reader_that_goes_away_ends_it_quietly(self, lines: int) -> None:
        read_end, write_end = os.pipe()
        os.close(read_end)
        body = f"for _ in range({lines}): print('a line')"
        answer = ending(body, capture_output=False, stdout=write_end, stderr=subprocess.PIPE)
        os.close(write_end)
        assert (answer.returncode, answer.stderr) == (141, "")

    @pytest.mark.parametrize("stream", ["stdout", "stderr"])
    def test_a_closed_output_hurts_nothing(self, stream: str) -> None:
        number = {"stdout": 1, "stderr": 2}[stream]
        answer = nsc_deploy("--version", preexec_fn=lambda: os.close(number))
        assert answer.returncode == 0
        assert "Traceback" not in answer.stderr

    def test_an_output_that_is_not_utf_8_takes_any_text(self, tmp_path: Path) -> None:
        ascii_only = {"env": {**os.environ, "PYTHONIOENCODING": "ascii"}, "cwd": tmp_path}
        told = ending("""print('{"name": "ä € 😀"}')""", **ascii_only)
        assert (told.returncode, told.stderr) == (0, "")
        assert json.loads(told.stdout) == {"name": "ä € 😀"}
        assert nsc_deploy("energy", "profiles", **ascii_only).returncode == 0

    @pytest.mark.parametrize("where", ["in the command", "before it"])
    def test_ctrl_c_ends_with_130_and_no_traceback(self, where: str) -> None:
        body = "print('started', flush=True); import signal; signal.pause()"
        script = f"""
            from nsc_deploy.cli.exit_codes import run_to_exit_code
            import sys, typer
            def command():
                {body}
            app = typer.Typer()
            app.command()(command)
            sys.exit(run_to_exit_code({"app" if where == "in the command" else "command"}))
        """
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 130
        assert errors.strip() == "interrupted"

    def test_sigterm_ends_with_143_after_clearing_away(self, tmp_path: Path) -> None:
        script = """
            import signal, sys
            from pathlib import Path
            from nsc_deploy.cli.exit_codes import end_on_sigterm, run_to_exit_code
            from nsc_deploy.io.scratch import scratch_folder
            def command():
                with scratch_folder("test", Path(sys.argv[1])):
                    signal.raise_signal(signal.SIGTERM)
            end_on_sigterm()
            sys.exit(run_to_exit_code(command))
        """
        asked = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert (answer.returncode, answer.stderr) == (143, "")
        assert not list(tmp_path.iterdir())

    def test_a_second_sigterm_ends_what_the_first_one_did_not(self) -> None:
        script = """
            import signal, sys
            from nsc_deploy.cli.exit_codes import end_on_sigterm, run_to_exit_code
            def command():
                for _ in range(2):
                    try:
                        signal.raise_signal(signal.SIGTERM)
                    except SystemExit:
                        pass
            end_on_sigterm()
            sys.exit(run_to_exit_code(command))
        """
        asked = [sys.executable, "-c", textwrap.dedent(script)]
        assert subprocess.run(asked, check=False).returncode == -signal.SIGTERM

    def test_ctrl_c_while_modules_are_loading_ends_with_130_too(self) -> None:
        script = """
            import sys
            class Interrupted:
                def find_spec(self, name, *rest):
                    if name == "typer":
                        raise KeyboardInterrupt
            sys.meta_path.insert(0, Interrupted())
            from nsc_deploy.__main__ import main
            main()
        """
        asked = [sys.executable, "-c", textwrap.dedent(script)]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert (answer.returncode, answer.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize(
    ("option", "meant"),
    [(MakerOption, Maker), (ResetOption, Reset), (SignalOption, Signal), (ScalesOption, ScaleGranularity)],
)
def test_an_option_offers_every_value_there_is(option: type[StrEnum], meant: type[StrEnum]) -> None:
    """Spelt twice, since help must not wait for the modules that know them."""
    assert [value.value for value in option] == [value.value for value in meant]


@pytest.mark.parametrize("path", ALL_COMMANDS, ids=" ".join)
def test_no_help_of_an_option_loses_what_stands_in_brackets(path: tuple[str, ...]) -> None:
    """Rich takes [samples, steps] for a style, and prints nothing of it."""
    words = [option.help for option in _command(path).params if getattr(option, "help", None)]
    assert [Text.from_markup(one).plain for one in words] == words
