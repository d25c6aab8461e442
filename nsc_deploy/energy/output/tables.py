"""Tables of a terminal, all in one form."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from rich.text import Text

_FOLDED = 8
"""Characters a line of text is folded to where there is no room for more."""


def new_table(title: str, text: Sequence[str], numbers: Sequence[str]) -> Table:
    """An empty table with columns of text, and columns of numbers at the right of them."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for name in text:
        table.add_column(name, overflow="fold", min_width=_FOLDED if name else None)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def least_width(table: Table) -> int:
    """Characters below which rich cuts columns of a table of `new_table` off.

    Its own measure takes the groups of three digits for words that may be parted.
    """
    widths = [_width(column) if column.no_wrap else min(_width(column), _FOLDED) for column in table.columns]
    return sum(widths) + 2 * len(widths)


def _width(column: Column) -> int:
    cells = [column.header, *column.cells]
    return max(Text.from_markup(line).cell_len for cell in cells for line in str(cell).split("\n"))
