import re
from importlib import resources
from pathlib import Path

import pytest

from nsc_deploy.energy.pricing.profile import Basis, load_profile, load_profiles, profile_names, read_profile
from nsc_deploy.errors import ConfigError

MINE = """
name = "my-chip"
title = "My chip"
source = "data sheet, revision 3"
process = "22 nm"
precision = "int8"
scope = "one core"
basis = "measured"

[prices]
ac = { value = 2.5, unit = "pJ" }
neuron_update = { value = 0.04, unit = "nJ", low = 0.03, high = 0.05 }
"""


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "my-chip.toml"
    path.write_text(text)
    return str(path)


def test_the_chip_of_a_profile_lies_beside_it_and_is_no_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = MINE.replace("[prices]", 'chip = "chip.toml"\n[prices]')
    path = written(tmp_path, own)
    found = load_profile(path)
    assert found.chip == str(tmp_path / "chip.toml")
    monkeypatch.chdir(tmp_path)
    near = load_profile("my-chip.toml")
    assert near.chip == "chip.toml"
    assert near.prices_as(found)
    assert not near.prices_as(load_profile("loihi"))
    assert load_profile("loihi").chip == "loihi1"


def test_every_shipped_profile_names_itself_and_its_source() -> None:
    for name, profile in zip(profile_names(), load_profiles(), strict=True):
        assert profile.name == name
        assert len(profile.source) > 20
        assert profile.process
        assert profile.scope


@pytest.mark.parametrize(
    ("name", "ac", "mac", "update"),
    [
        ("horowitz-45nm", 0.9, 4.6, None),
        ("horowitz-45nm-fp16", 0.4, 1.5, None),
        ("horowitz-45nm-int8", 0.03, 0.23, None),
        ("loihi", 35.5, None, 72.8),
        ("loihi-minimum", 23.6, None, 81.0),
        ("spinnaker", 13_300.0, None, 26_000.0),
        ("spinnaker2", 450.0, None, 2190.0),
        ("cpu-i7-4960x", 8600.0, 8600.0, 8600.0),
        ("tianjic", 1.54, None, None),
    ],
)
def test_published_figures(name: str, ac: float, mac: float | None, update: float | None) -> None:
    prices = load_profile(name).prices
    found = [None if p is None else p.picojoules for p in (prices.ac, prices.mac, prices.neuron_update)]
    assert found == pytest.approx([ac, mac, update])


def test_a_mac_is_a_product_and_an_addition_where_all_three_are_given() -> None:
    for profile in load_profiles():
        prices = profile.prices
        if profile.event_driven and prices.mac and prices.product and prices.addition:
            assert prices.mac.picojoules == pytest.approx(
                prices.product.picojoules + prices.addition.picojoules
            )


def test_contradicting_publications_are_quoted() -> None:
    for name in ("spinnaker", "spinnaker2", "truenorth", "loihi"):
        assert load_profile(name).conflicts


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    profile = load_profile(written(tmp_path, MINE))
    assert profile.basis is Basis.MEASURED
    assert profile.prices.neuron_update is not None
    assert profile.prices.neuron_update.picojoules == pytest.approx(40)
    assert profile.prices.neuron_update.bounds_picojoules == pytest.approx((30, 50))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (', unit = "pJ"', "", "prices.ac.unit: is missing"),
        ("value = 2.5", "value = -2.5", "prices.ac.value"),
        ("value = 2.5", "value = nan", "prices.ac.value"),
        ("ac = {", "acc = {", "prices.acc: is not a field"),
        ('"pJ"', '"pJoule"', "prices.ac.unit"),
        ('basis = "measured"', 'basis = "guessed"', "basis"),
        ('source = "data sheet, revision 3"', "", "source: is missing"),
        ("low = 0.03", "low = 0.3", "prices.neuron_update: needs low <= value"),
        ("ac = { value", "spike = { value", "needs a price for ac or for mac"),
        ("name =", "name", "not valid TOML"),
    ],
)
def test_the_wrong_field_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in MINE
    with pytest.raises(ConfigError) as caught:
        load_profile(written(tmp_path, MINE.replace(old, new, 1)))
    assert said in caught.value.message
    assert "my-chip.toml" in caught.value.message


def test_the_page_shows_a_valid_profile_and_names_all_others(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "energy.md").read_text(encoding="utf-8")
    example = next(block for block in re.findall(r"```toml\n(.*?)```", page, re.S) if "[prices]" in block)
    assert load_profile(written(tmp_path, example)).prices.spike is not None
    assert [name for name in profile_names() if f"`{name}`" not in page] == []


def test_unknown_and_missing_profiles(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="horowitz-45nm, "):
        load_profile("horowitz")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_profile(tmp_path / "none.toml")


def test_a_note_that_no_price_is_published_stands_beside_none(tmp_path: Path) -> None:
    folder = Path(str(resources.files("nsc_deploy.energy.pricing") / "profiles"))
    shipped = (folder / "loihi.toml").read_text()
    (tmp_path / "own.toml").write_text(shipped.replace("[not_published]", '[not_published]\nac = "none"'))
    with pytest.raises(ConfigError, match="has a price of ac and a note"):
        load_profile(tmp_path / "own.toml")
    assert "one bit" in load_profile("loihi").why_without("macs")
    assert load_profile("odin").why_without("macs") == "not published"
