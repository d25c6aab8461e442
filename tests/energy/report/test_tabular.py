"""One table in every medium: what a page shows of it, and what is escaped."""

from nsc_deploy.energy.report.numbers import MISSING
from nsc_deploy.energy.report.tabular import Holds, Medium, Row, Table, TableColumn, columns


def test_a_page_shows_its_own_columns_and_rows() -> None:
    table = Table(
        "sizes",
        (
            *columns("\nPart"),
            *columns("Course", only=Medium.TERMINAL),
            *columns("Memory\nuJ", only=Medium.PAGE),
        ),
        (
            Row(("system",), "group", Medium.TERMINAL),
            Row(("  receiver", "___", "3")),
            Row(("all", "", "4"), "total", Medium.PAGE),
        ),
    )
    assert table.html() == (
        "<table><thead><tr><th>Part</th><th>Memory<br>µJ</th></tr></thead><tbody>"
        '<tr><td>receiver</td><td>3</td></tr><tr class="total"><td>all</td><td>4</td></tr></tbody></table>'
    )


def test_texts_are_escaped_and_cells_that_are_missing_are_empty() -> None:
    heads = (TableColumn("Node", Holds.NAMES), TableColumn("<i>", Holds.SENTENCES))
    table = Table("", heads, (Row(("<b>",)), Row(("a", "b"))))
    assert "<b>" not in table.html()
    assert '<td>&lt;b&gt;</td><td class="text words"></td>' in table.html()
    assert "<th>Node</th>" in table.html()


def test_a_column_in_which_nothing_stands_is_left_out() -> None:
    heads = columns("Name", "SNR", "uJ")
    table = Table("", heads, (Row(("a", MISSING, "1")), Row(("b", "", "2"))))
    assert table.shown(Medium.TERMINAL) == table.shown(Medium.PAGE) == [0, 2]
    assert "SNR" not in table.html()
    assert Table("", heads, ()).shown(Medium.PAGE) == [0, 1, 2]
