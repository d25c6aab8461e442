"""What a chip says of a graph, drawn for a terminal."""

import io
from itertools import pairwise

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from nsc_deploy.exporters.base import CheckResult
from nsc_deploy.exporters.chips.chip import bundled_chip
from nsc_deploy.exporters.chips.fit import fit
from nsc_deploy.exporters.chips.output import to_text
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Signal
from nsc_deploy.passes.verdict import Status, Verdict

CHIP = bundled_chip("loihi2")


def drawn(first: str, width: int) -> list[str]:
    """The lines that tell of a graph of two layers, the first of them with a name."""
    builder = GraphBuilder(0.01)
    builder.input(4, Signal.EVENTS)
    for name, size in ((first, 4), ("second", 900)):
        builder.linear(f"to-{name}", np.full((size, 4), 0.5))
        builder.lif(name, 0.9, 0.3, size)
        builder.linear(f"after-{name}", np.full((4, size), 0.5))
        builder.lif(f"end-{name}", 0.9, 0.3, 4)
    builder.output(4)
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False, markup=False)
    console.print(to_text(fit(assemble(builder.build()), CHIP), CHIP.name, "a.nir", details=True))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("first", ["one", "a name that is longer than it should be " * 4, "層" * 70])
@pytest.mark.parametrize("width", [80, 100])
def test_tables_keep_to_the_width_and_lose_nothing(first: str, width: int) -> None:
    lines = drawn(first, width)
    assert max(map(cell_len, lines)) <= width
    for sign in set(first) - {" "}:  # in each of the three places that name it
        assert sum(line.count(sign) for line in lines) >= 3 * first.count(sign)


def test_columns_stand_below_their_heads() -> None:
    lines = drawn("one", 80)
    head = next(line for line in lines if line.startswith(" Node"))
    place = head.index("Verdict")
    rows = lines[lines.index(head) + 2 :][:10]
    assert [row[place : place + 6] for row in rows] == ["native"] * 10


def test_numbers_stand_to_the_right_and_heads_of_two_lines_above_them() -> None:
    lines = drawn("one", 80)
    upper, lower = next(both for both in pairwise(lines) if both[1].startswith(" Core"))
    end = upper.index("neurons") + len("neurons")
    assert lower[:end].endswith("of 8,192, %")
    cores = lines[lines.index(lower) + 2 :]
    assert cores[0][:end].rstrip()[-1].isdigit()
    assert cores[0][end] == " "


def told(verdicts: tuple[Verdict, ...], *, details: bool) -> str:
    stream = io.StringIO()
    Console(file=stream, width=80).print(
        to_text(CheckResult(verdicts, tuple), "c", "a.onnx", details=details)
    )
    return stream.getvalue()


def test_nodes_of_a_kind_that_are_refused_for_one_reason_share_a_line() -> None:
    constants = tuple(Verdict(f"c{n}", "Constant", Status.REFUSED, "has no form") for n in range(1200))
    kinds = tuple(Verdict(f"k{n}", f"Kind{n}", Status.REFUSED, "has no form") for n in range(9))
    fine = Verdict("fine", "Gemm", Status.NATIVE, "as it is")
    short = told((*constants, fine, *kinds), details=False)
    assert "1 of 1,210 nodes native" in short
    assert " c0 and 1,199 more " in short
    assert short.count("has no form") == 8
    assert "and 2 more (--details)" in short
    full = told((*constants, fine, *kinds), details=True)
    assert full.count("has no form") == 1209
    assert " c7 " in full
    assert "more" not in full
