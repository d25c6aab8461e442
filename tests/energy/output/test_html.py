"""The page in a real browser: at a desk, on a telephone, in the dark and on paper."""

from pathlib import Path
from typing import Any

import pytest

from nsc_deploy.energy import estimate
from nsc_deploy.energy.output.html import render_html
from tests.energy.output.test_terminal import with_every_kind
from tests.support.browser import LETTER, opened
from tests.support.small_runs import dense_run, event_run

RIGHT_EDGES = (
    "[...document.querySelectorAll('table, .bars, svg')].map(one => one.getBoundingClientRect().right)"
)
OVERFLOWS = "[...document.querySelectorAll('.scroll')].map(one => getComputedStyle(one).overflowX)"
FOLDED = "[...document.querySelectorAll('details table')].map(one => one.getBoundingClientRect().height)"
WIDER_THAN_THE_PAGE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Words in a line of each cell that takes several lines.
WORDS_A_LINE = """[...document.querySelectorAll('td')].flatMap(cell => {
  const range = document.createRange(); range.selectNodeContents(cell);
  const lines = new Set([...range.getClientRects()].map(one => Math.round(one.top))).size;
  const words = cell.textContent.trim().split(/\\s+/).length;
  return lines > 2 ? [words / lines] : []; })"""
COLOURS = """selector => { const one = document.querySelector(selector);
  return [getComputedStyle(one).color, getComputedStyle(document.body).backgroundColor]
    .map(text => text.match(/[\\d.]+/g).slice(0, 3).map(Number)); }"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    report = estimate([event_run(folder / "event", scale=60), dense_run(folder / "fc")]).report
    path = folder / "report.html"
    path.write_text(render_html(with_every_kind(report)), "utf-8")
    return path


@pytest.mark.parametrize("width", [1300, 400])
def test_the_page_is_as_wide_as_the_window(page: Path, width: int) -> None:
    with opened(page, width) as view:
        assert view.evaluate(WIDER_THAN_THE_PAGE) == 0


@pytest.mark.parametrize("width", [1300, 400])
def test_no_column_has_one_word_a_line(page: Path, width: int) -> None:
    with opened(page, width) as view:
        assert min(view.evaluate(WORDS_A_LINE), default=9) >= 2


def test_text_in_pictures_can_be_read_on_a_telephone(page: Path) -> None:
    with opened(page, 400) as view:
        heights = view.evaluate(
            "[...document.querySelectorAll('svg text, .bars span, .bars b')]"
            ".map(one => one.getBoundingClientRect().height)"
        )
        assert heights
        assert min(heights) >= 8


def test_all_columns_are_printed(page: Path) -> None:
    with opened(page, LETTER, media="print") as view:
        assert max(view.evaluate(RIGHT_EDGES)) <= LETTER + 1
        assert set(view.evaluate(OVERFLOWS)) == {"visible"}
        # What is folded away on a screen is on the paper.
        assert min(view.evaluate(FOLDED)) > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("selector", ["h1", "p.soft", "svg text", "th", "nav a"])
def test_text_stands_out_in_both_schemes(page: Path, scheme: str, selector: str) -> None:
    """4.5 to 1, as WCAG 2.2 asks for text of this size (success criterion 1.4.3)."""
    with opened(page, 1300, scheme=scheme) as view:
        if selector == "svg text":
            view.add_style_tag(content="svg text { color: var(--soft); }")
        ink, paper = (luminance(colour) for colour in view.evaluate(COLOURS, selector))
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5
        assert (paper < 0.1) == (scheme == "dark")


def luminance(colour: list[Any]) -> float:
    """Relative luminance of an sRGB colour, WCAG 2.2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_first_table_tells_synops_fit_latency_and_accuracy(page: Path) -> None:
    with opened(page, 1300) as view:
        words = view.evaluate("document.querySelector('#glance ~ .scroll').innerText")
    for told in (
        "SynOps, mean",
        "SynOps, worst",
        "Busiest step",
        "SynOps/s",
        "Energy",
        "Latency",
        "Accuracy",
    ):
        assert told in words


def test_the_contents_lead_to_every_chapter(page: Path) -> None:
    with opened(page, 1300) as view:
        links = view.evaluate("[...document.querySelectorAll('nav a')].map(one => one.getAttribute('href'))")
        chapters = view.evaluate("[...document.querySelectorAll('h2')].map(one => '#' + one.id)")
        assert links == chapters
