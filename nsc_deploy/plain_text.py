"""Tables that were read from a file, without texts that a terminal would obey: what they say is printed."""

from collections.abc import Iterable, Mapping

from nsc_deploy.errors import UserError
from nsc_deploy.io.text import control, printable


def refuse_control(value: object, *, where: object, kind: type[UserError]) -> None:
    """Refuse control characters in the texts and names of nested tables and lists.

    Raises:
        UserError: of `kind`, with the field.
    """
    field = _with_control(value, "")
    if field is not None:
        raise kind(
            f"field {field}: holds control characters",
            where=where,
            remedy="Take them out: plain text is wanted.",
        )


def _with_control(value: object, path: str) -> str | None:
    inner: Iterable[tuple[object, object]] = ()
    if isinstance(value, str):
        return printable(path, 60) if control(value) else None
    if isinstance(value, Mapping):
        bad = next((key for key in value if isinstance(key, str) and control(key)), None)
        if bad is not None:
            return printable(f"{path}.{bad}".removeprefix("."), 60)
        inner = value.items()
    elif isinstance(value, list | tuple):
        inner = enumerate(value)
    found = (_with_control(one, f"{path}.{key}".removeprefix(".")) for key, one in inner)
    return next((field for field in found if field is not None), None)
