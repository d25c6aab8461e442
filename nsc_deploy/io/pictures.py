"""Pictures that matplotlib draws: written whole, and the same bytes for the same figure."""

from pathlib import Path
from typing import TYPE_CHECKING

from nsc_deploy.errors import ConfigError
from nsc_deploy.io.files import replacing, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What each format would say of the time it was made.
_DATES: dict[str, dict[str, None]] = {".svg": {"Date": None}, ".png": {}, ".pdf": {"CreationDate": None}}


def require_format(path: Path) -> None:
    """Refuse a name whose ending is no format of a picture, before the work on it.

    Raises:
        ConfigError: another ending than .svg, .png or .pdf.
    """
    if path.suffix.lower() not in _DATES:
        raise ConfigError(
            f"a picture cannot have the ending '{path.suffix}'",
            where=path,
            hint="Choose .svg, .png or .pdf.",
        )


def save_figure(figure: "Figure", path: Path, *, dpi: int = 150) -> None:
    """Write a figure, whole or not at all; the name's ending decides the format (.svg, .png or .pdf).

    Raises:
        ConfigError: another ending.
        UserError: the place cannot be written.
    """
    import matplotlib as mpl

    require_format(path)
    form = path.suffix.lower()
    # The salt stands for the random part of the names that an SVG gives to what it repeats.
    with mpl.rc_context({"svg.hashsalt": "nsc-deploy"}), replacing(path) as temporary:
        figure.savefig(temporary, format=form[1:], dpi=dpi, facecolor="white", metadata=_DATES[form])


def save_with_values(figure: "Figure", name: str, values: object, directory: Path) -> list[Path]:
    """Write NAME.png, NAME.svg and evaluation.json with what they draw, into a folder made if need be.

    Raises:
        UserError: the place cannot be written.
    """
    files = [directory / f"{name}.{form}" for form in ("png", "svg")]
    for path in files:
        save_figure(figure, path)
    write_json(directory / "evaluation.json", values)
    return [*files, directory / "evaluation.json"]
