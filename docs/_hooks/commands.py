"""Writes the reference of the commands from the commands themselves, so that it cannot fall behind."""

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from nsc_deploy.cli.app import app

MARKER = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by mkdocs for every page: puts the commands in the place of the marker."""
    return markdown.replace(MARKER, "\n".join(_sections(get_command(app), "nsc-deploy")))


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
            ", ".join(f"`{name}`" for name in parameter.opts)
            if parameter in options
            else f"`{_usage(parameter)}`"
        )
        yield f"| {spelled} | {_cell(getattr(parameter, 'help', ''))} | {_default(parameter)} |"
    yield ""


def _usage(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").replace("\n", " ")


def _default(parameter: Any) -> str:
    value = parameter.default
    if value is None or value is False or callable(value) or not str(value):
        return ""
    return f"`{_cell(str(getattr(value, 'value', value)))}`"
