"""The notebook of the examples runs cell by cell, and its results render as tables."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def value_of(source: str, names: dict[str, Any]) -> Any:
    """What a cell shows: the value of its last expression."""
    tree = ast.parse(source)
    if isinstance(tree.body[-1], ast.Expr):
        tree.body[-1] = ast.Assign([ast.Name("_", ast.Store())], tree.body[-1].value)
    exec(compile(ast.fix_missing_locations(tree), "cell", "exec"), names)  # noqa: S102 - ours, from examples/
    return names.get("_")


def test_the_notebook_runs_and_shows_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    notebook = json.loads((EXAMPLES / "one_graph.ipynb").read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    names: dict[str, Any] = {}
    shown = [
        value_of("".join(cell["source"]), names) for cell in notebook["cells"] if cell["cell_type"] == "code"
    ]
    pages = [value._repr_html_() for value in shown if hasattr(value, "_repr_html_")]
    assert len(pages) == 3
    assert all("<table>" in page for page in pages)
    assert "SynOps" in pages[0]
    assert names["counted"].check(names["budget"]).passed
    assert names["answer"].fits
    assert names["verified"].passed
    assert all(not cell.get("outputs") for cell in notebook["cells"])  # kept without what one run showed
