"""Tables as data: made once, drawn in a terminal, a page or a notebook; and results that are tables."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from typing import TYPE_CHECKING, Any

from nsc_deploy.energy.report.numbers import MISSING
from nsc_deploy.errors import missing_package
from nsc_deploy.io.text import counted

if TYPE_CHECKING:
    import pandas as pd


class Medium(StrEnum):
    """Where tables are drawn; a notebook is a page."""

    TERMINAL = "terminal"
    PAGE = "page"


class Holds(StrEnum):
    """What the cells of a column are: numbers stand at the right, sentences may be folded anywhere."""

    NUMBERS = "numbers"
    NAMES = "names"
    SENTENCES = "sentences"


@dataclass(frozen=True)
class TableColumn:
    """A column of a table.

    Attributes:
        head: its name, in one or several lines.
        holds: what its cells are.
        only: the one medium that shows it; None for all.
        rank: columns of the highest rank go first where a terminal is too narrow; those of 0 stay.
    """

    head: str
    holds: Holds = Holds.NUMBERS
    only: Medium | None = None
    rank: int = 0


@dataclass(frozen=True)
class Row:
    """A row of a table, with a cell a column; cells that are missing at its end are empty.

    Attributes:
        cells: as they are shown.
        style: "group" for the name of what follows, "total" for a sum, "over" for what is too much.
        only: the one medium that shows it; None for all.
    """

    cells: tuple[str, ...]
    style: str = ""
    only: Medium | None = None


@dataclass(frozen=True)
class Table:
    """A table that any medium can draw, with a note below it."""

    title: str
    columns: tuple[TableColumn, ...]
    rows: tuple[Row, ...]
    note: str = ""

    def shown(self, medium: Medium) -> list[int]:
        """The columns that a medium draws: none that is for another, and none in which nothing stands."""
        rows = [row for row in self.rows if row.only in {None, medium}]

        def used(index: int) -> bool:
            cells = [row.cells[index].strip() for row in rows if index < len(row.cells)]
            return not rows or index == 0 or any(cell not in {"", MISSING} for cell in cells)

        return [index for index, one in enumerate(self.columns) if one.only in {None, medium} and used(index)]

    def html(self) -> str:
        """As HTML without its title; every text in it is escaped."""
        shown = self.shown(Medium.PAGE)
        # A style sheet puts the first column at the left of its own accord.
        styles = ["", *(_STYLES[self.columns[index].holds] for index in shown[1:])]

        def line(tag: str, cells: Sequence[str]) -> str:
            filled = [cells[index].strip() if index < len(cells) else "" for index in shown]
            written = (escape(cell).replace("\n", "<br>").replace("uJ", "µJ") for cell in filled)
            return "".join(
                f"<{tag}{style}>{cell}</{tag}>" for cell, style in zip(written, styles, strict=True)
            )

        heads = line("th", [column.head for column in self.columns])
        rows = "".join(
            (f'<tr class="{row.style}">' if row.style else "<tr>") + line("td", row.cells) + "</tr>"
            for row in self.rows
            if row.only is not Medium.TERMINAL
        )
        return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


_STYLES = {Holds.NUMBERS: "", Holds.NAMES: ' class="text"', Holds.SENTENCES: ' class="text words"'}


def columns(
    *heads: str, holds: Holds = Holds.NUMBERS, only: Medium | None = None, rank: int = 0
) -> tuple[TableColumn, ...]:
    """Several columns that are alike but for their heads."""
    return tuple(TableColumn(head, holds, only, rank) for head in heads)


class Tabular:
    """A result that a notebook shows as a table and pandas takes as one."""

    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """Its rows, all with the same columns."""

    def to_pandas(self) -> "pd.DataFrame":
        """A pandas table.

        Raises:
            BackendError: pandas is not installed.
        """
        return frame(self.rows())

    def __repr__(self) -> str:
        """One line: a notebook shows the table instead."""
        return f"<{type(self).__name__}: {counted(len(self.rows()), 'row')}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        rows = self.rows()
        cells = [Row(tuple(map(_cell, row.values()))) for row in rows]
        return Table("", columns(*(rows[0] if rows else ())), tuple(cells)).html()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def frame(rows: Iterable[dict[str, Any]]) -> "pd.DataFrame":
    """A pandas table.

    Raises:
        BackendError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise missing_package(error) or error from error
    return pd.DataFrame(rows)
