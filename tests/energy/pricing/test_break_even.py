from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from nsc_deploy.deployment import Side
from nsc_deploy.energy import Estimate, estimate
from nsc_deploy.energy.output.terminal import print_report
from nsc_deploy.energy.pricing.profile import Price, Radio, Unit, load_profile
from nsc_deploy.energy.report.break_even import against, radio_break_even
from nsc_deploy.energy.report.numbers import joules, with_signs
from nsc_deploy.energy.report.schema import Report, SystemReport
from nsc_deploy.energy.report.statistics import Energy
from tests.support.small_runs import dense_run, event_run


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("runs")
    return estimate([event_run(folder / "event"), dense_run(folder / "fc")]).report


def test_at_the_factor_both_cost_the_same(report: Report) -> None:
    event, fc = report.systems
    assert [(one.side, one.column) for one in event.against] == [
        (side, column) for side in (None, Side.RECEIVER) for column in ("paper", "compute", "memory")
    ]
    assert fc.against == ()
    for one in event.against:
        assert one.factor is not None
        if one.factor:
            moving = one.own_uj - one.fixed_uj
            assert one.factor * moving + one.fixed_uj == pytest.approx(one.rival_uj)
        assert (one.factor > 1) == (one.own_uj < one.rival_uj)


def _with(report: Report, own: float, moving: float, rival: float, unpriced: bool = False) -> Report:
    def energy(mean: float, with_rate: float, missing: bool) -> dict[str, Energy]:
        base = report.systems[0].energy["memory"]
        kinds = ("macs",) if missing else ()
        return {
            "memory": base.model_copy(update={"mean_uj": mean, "with_rate_uj": with_rate, "unpriced": kinds})
        }

    event, fc = report.systems
    mine = event.model_copy(update={"energy": energy(own, moving, unpriced), "sides": {}})
    theirs = fc.model_copy(update={"energy": energy(rival, 0.0, False), "sides": {}})
    return report.model_copy(update={"systems": (mine, theirs)})


@pytest.mark.parametrize(
    ("own", "moving", "rival", "unpriced", "factor", "words"),
    [
        (10.0, 8.0, 18.0, False, 2.0, "would lose with more than 2.00 times"),
        (10.0, 8.0, 6.0, False, 0.5, "would win with less than 0.50 times"),
        (10.0, 1.0, 6.0, False, 0.0, "loses at any rate: 9.00 uJ"),
        (10.0, 8.0, 18.0, True, None, "no price for MAC"),
        (10.0, 0.0, 18.0, False, None, "Nothing fires: no break-even"),
    ],
)
def test_every_case_in_words(
    report: Report, own: float, moving: float, rival: float, unpriced: bool, factor: float, words: str
) -> None:
    changed = _with(report, own, moving, rival, unpriced)
    (found,) = against(changed.systems[0], changed.systems)
    assert found.factor == (None if factor is None else pytest.approx(factor))
    assert words in found.words


def test_all_three_forms_say_what_would_turn_it(report: Report, tmp_path: Path) -> None:
    text = StringIO()
    print_report(report, Console(file=text, width=400))
    page = Estimate(report).write(tmp_path)[1].read_text()
    event = report.systems[0]
    layers = [even.words for part in event.parts for even in part.break_even]
    assert event.break_even is not None
    assert layers
    for words in (event.break_even.words, *layers, *(one.words for one in event.against)):
        assert words in text.getvalue()
        assert with_signs(words) in page
    assert "What would have to change for att-neurosc (event) to lose" in page


def _sent(
    report: Report, own: tuple[float, float, int], rival: tuple[float, float, int], **changes: object
) -> tuple[SystemReport, SystemReport]:
    """Two systems with energies of device and server and bits, at 1 nJ a bit."""

    def spends(one: SystemReport, device: float, server: float, bits: int) -> SystemReport:
        base = one.energy["memory"]
        ends = (Side.TRANSMITTER, device), (Side.RECEIVER, server)
        return one.model_copy(
            update={
                "energy": {"memory": base.model_copy(update={"mean_uj": device + server, "unpriced": ()})},
                "sides": {side: {"memory": base.model_copy(update={"mean_uj": uj})} for side, uj in ends},
                "channel": "bsc",
                "channel_uses": bits,
                "radio_uj": bits * 1e-3,
            }
        )

    mine, theirs = (spends(*one) for one in zip(report.systems, *zip(own, rival, strict=True), strict=False))
    return mine.model_copy(update=changes), theirs


PRICED = load_profile("horowitz-45nm").model_copy(
    update={"radio": Radio(channel_use=Price(value=1, unit=Unit.NANOJOULE), source="mine")}
)


@pytest.mark.parametrize(
    ("own", "rival", "price_nj", "uses", "words"),
    [
        # More at its ends and fewer bits: the radio has to be dear.
        ((8, 4, 1000), (5, 5, 5000), 0.5, 3000, "cheaper above 500 pJ a bit, and dearer otherwise."),
        ((8, 1, 5000), (5, 5, 1000), 0.25, 2000, "cheaper below 250 pJ a bit, and dearer otherwise."),
        ((4, 4, 1000), (5, 5, 5000), None, 7000, "cheaper at any price of a bit, with 1,000 against 5,000."),
        ((8, 4, 5000), (5, 5, 1000), None, None, "never cheaper, at any price of a bit, with 5,000 against"),
        ((4, 4, 256), (5, 5, 256), None, 2256, "cheaper at any price of a bit, as both send 256."),
        ((6, 5, 256), (5, 5, 256), None, None, "never cheaper, at any price of a bit, as both send 256."),
        ((5, 5, 256), (5, 5, 256), None, 256, "Both cost the same at any price of a bit."),
    ],
)
def test_the_radio_turns_it_at_a_price_or_at_a_number_of_bits(
    report: Report,
    own: tuple[float, float, int],
    rival: tuple[float, float, int],
    price_nj: float | None,
    uses: float | None,
    words: str,
) -> None:
    mine, theirs = _sent(report, own, rival)
    (found,) = radio_break_even(mine, [theirs], ["memory"], PRICED)
    assert words in found.words
    assert (found.own.device_uj, found.own.server_uj, found.own.channel_uses) == own
    assert (found.other.device_uj, found.other.server_uj, found.other.channel_uses) == rival
    if price_nj is None:
        assert found.price_j is None
    else:
        assert found.price_j == pytest.approx(price_nj * 1e-9)
        at = [sum(one[:2]) + one[2] * price_nj * 1e-3 for one in (own, rival)]
        assert at[0] == pytest.approx(at[1])
    if uses is None:
        assert found.uses is None
        assert "At 1 nJ a bit it would lose even without a bit." in found.words
    else:
        assert found.uses == pytest.approx(uses)
        assert sum(own[:2]) + uses * 1e-3 == pytest.approx(found.other.whole_uj)
        turns = "lose with more" if found.own.whole_uj <= found.other.whole_uj else "win with fewer"
        assert f"At 1 nJ a bit it would {turns} than {uses:,} bits, in place of {own[2]:,}." in found.words


@pytest.mark.parametrize(
    ("own", "rival", "words"),
    [
        ((8, 4, 100), (6, 6.0105, 0), "win with fewer than 11 bits, in place of 100."),
        ((8, 4, 10), (6, 6.0105, 0), "lose with more than 10 bits, in place of 10."),
        ((0.1, 0.2, 4050), (0.1, 0.2, 4050), "lose with more than 4,050 bits, in place of 4,050."),
    ],
)
def test_uses_are_whole(
    report: Report, own: tuple[float, float, int], rival: tuple[float, float, int], words: str
) -> None:
    mine, theirs = _sent(report, own, rival)
    (found,) = radio_break_even(mine, [theirs], ["memory"], PRICED)
    assert words in found.words


def test_what_else_a_profile_prices_is_in_the_whole(report: Report) -> None:
    mine, theirs = _sent(report, (4, 4, 100), (5, 5, 100), static_uj=1.5, addressing_uj=1.0)
    (found,) = radio_break_even(mine, [theirs], ["memory"], PRICED)
    assert found.own.items_uj == 2.5
    assert found.own.whole_uj == pytest.approx(10.6)
    assert "never cheaper" in found.words
    assert "other items 2.50" in found.words


def test_a_missing_price_bits_beside_symbols_and_a_free_radio(report: Report) -> None:
    mine, theirs = _sent(report, (8, 4, 1000), (5, 5, 5000))
    lower = {"memory": mine.energy["memory"].model_copy(update={"unpriced": ("macs",)})}
    (found,) = radio_break_even(mine.model_copy(update={"energy": lower}), [theirs], ["memory"], PRICED)
    assert (found.price_j, found.uses) == (None, None)
    assert found.words == f"Not compared with {theirs.label}: the profile has no price for MAC."
    symbols = theirs.model_copy(update={"channel": "awgn"})
    assert radio_break_even(mine, [symbols], ["memory"], PRICED) == ()
    assert radio_break_even(mine, [theirs], ["memory"], load_profile("horowitz-45nm")) == ()
    free = Radio(channel_use=Price(value=0, unit=Unit.NANOJOULE), source="mine")
    (found,) = radio_break_even(mine, [theirs], ["memory"], PRICED.model_copy(update={"radio": free}))
    assert found.price_j == pytest.approx(0.5e-9)
    assert found.uses is None
    assert "At " not in found.words


def test_all_three_forms_say_what_the_radio_would_turn(report: Report, tmp_path: Path) -> None:
    assert all(one.radio_break_even == () for one in report.systems)
    runs = [event_run(tmp_path / "event"), dense_run(tmp_path / "fc")]
    priced = estimate(runs, profile=PRICED)
    event, fc = priced.report.systems
    assert [one.column for one in event.radio_break_even] == ["paper", "compute", "memory"]
    assert fc.radio_break_even == ()  # each pair once
    for one in event.radio_break_even:
        energy = event.energy[one.column].mean_uj
        assert one.own.whole_uj == pytest.approx(energy + event.channel_uses * 1e-3)
    text = StringIO()
    print_report(priced.report, Console(file=text, width=600))
    data, page = (file.read_text() for file in priced.write(tmp_path / "page"))
    assert Report.model_validate_json(data).systems[0].radio_break_even == event.radio_break_even
    for one in event.radio_break_even:
        assert one.words in text.getvalue()
        assert one.words.replace("uJ", "µJ") in page
        assert "channel use" in one.words


def test_prices_in_the_unit_that_fits() -> None:
    wanted = ["0.5 pJ", "1 nJ", "999 pJ", "12.3 uJ", "4 mJ", "2.5 J"]
    assert [joules(one) for one in (5e-13, 1e-9, 9.99e-10, 1.234e-5, 4e-3, 2.5)] == wanted
