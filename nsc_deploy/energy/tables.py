"""Tables of a terminal, all in one form."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table


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
        table.add_column(name, overflow="fold", min_width=8 if name else None)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table
