"""Writes the reference of commands and experiments from the product itself, so that it cannot fall behind."""

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from nsc_deploy.cli.app import app
from nsc_deploy.config.features import BackboneExperiment, FeaturesExperiment
from nsc_deploy.config.memory import MemoryExperiment
from nsc_deploy.config.speech import SpeechExperiment
from nsc_deploy.experiment_file import experiment_text

COMMANDS = "<!-- commands -->"
EXPERIMENTS = {
    "<!-- experiment -->": SpeechExperiment(),
    "<!-- experiment backbone -->": BackboneExperiment(),
    "<!-- experiment memory -->": MemoryExperiment(),
    "<!-- experiment codec -->": FeaturesExperiment.model_validate({"system": {"backbone": "runs/backbone"}}),
}


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by mkdocs for every page: puts commands and fields in the places of their markers."""
    for marker, experiment in EXPERIMENTS.items():
        markdown = markdown.replace(marker, f"```toml\n{experiment_text(experiment)}```")
    if COMMANDS not in markdown:
        return markdown
    return markdown.replace(COMMANDS, "\n".join(_sections(get_command(app), "nsc-deploy")))


def _sections(command: Any, name: str) -> Iterator[str]:
    children = {key: child for key, child in getattr(command, "commands", {}).items() if not child.hidden}
    if not children:
        yield from _section(command, name)
    for key, child in sorted(children.items()):
        yield from _sections(child, f"{name} {key}")


def _section(command: Any, name: str) -> Iterator[str]:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    usage = " ".join(
        [name, *(_usage(argument) for argument in arguments), *(["[OPTIONS]"] if options else [])]
    )
    yield f"\n## {name}\n\n```text\n{usage}\n```\n\n{command.help or ''}\n"
    if arguments or options:
        yield "| Argument or option | Meaning | Default |\n|---|---|---|"
    for parameter in (*arguments, *options):
        spelled = (
            ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
            if parameter in options
            else f"`{_usage(parameter)}`"
        )
        yield f"| {spelled} | {_cell(_meaning(parameter))} | {_default(parameter)} |"
    yield ""


def _usage(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _meaning(parameter: Any) -> str:
    """Its help, with the range of numbers it takes."""
    text, low, high = parameter.help or "", getattr(parameter, "min", None), getattr(parameter, "max", None)
    if low is None:
        return text
    span = f"{low:g} or more" if high is None else f"{low:g} to {high:g}"
    return f"{text} ({span})"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").replace("\n", " ")


def _default(parameter: Any) -> str:
    value = parameter.default
    if value is None or value is False or callable(value) or not str(value):
        return ""
    if value is True:
        return f"`{parameter.opts[0]}`"
    return f"`{_cell(str(getattr(value, 'value', value)))}`"
