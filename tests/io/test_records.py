import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, Field, model_validator

from nsc_deploy.deployment import FILE_NAME, read_deployment
from nsc_deploy.energy.pricing.profile import read_profile
from nsc_deploy.energy.report.budget import Budget
from nsc_deploy.energy.report.compare import read_report
from nsc_deploy.energy.report.schema import SCHEMA_VERSION
from nsc_deploy.errors import ConfigError, DataError, UserError
from nsc_deploy.experiment_file import load_experiment
from nsc_deploy.exporters.lava.manifest import Manifest
from nsc_deploy.exporters.manifest import read_manifest
from nsc_deploy.io.files import read_json
from nsc_deploy.io.records import (
    Record,
    fields_at,
    model_at,
    nearest,
    read_json_record,
    read_toml,
    read_toml_record,
    to_record,
)


class Leg(Record):
    length_m: float = Field(gt=0)
    steps: tuple[Annotated[int, Field(ge=1)], ...] = ()

    @model_validator(mode="after")
    def _even(self) -> "Leg":
        if len(self.steps) % 2:
            raise ValueError("needs an even number of steps")
        return self


class Walk(Record):
    title: str = "a walk"
    first: Leg
    others: tuple[Leg, ...] = ()
    guide: Leg | None = None
    names: dict[str, int] = Field(default_factory=dict)


GOOD = {"first": {"length_m": 2.5}}


def refusal(value: object) -> str:
    with pytest.raises(ConfigError) as caught:
        to_record(Walk, value, "a walk", where="walk.toml", hint="Walk anew.")
    assert (caught.value.where, caught.value.hint) == ("walk.toml", "Walk anew.")
    return caught.value.problem


def test_a_record_is_read_and_cannot_be_changed() -> None:
    walk = to_record(Walk, GOOD, "a walk", where="walk.toml")
    assert walk.first.length_m == 2.5
    with pytest.raises(ValueError, match="frozen"):
        walk.title = "another"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({}, "field first: is missing"),
        (
            {"first": {"lenght_m": 1, "length_m": 1}},
            "field first.lenght_m: is not a field of a walk (did you mean length_m?)",
        ),
        (GOOD | {"xyzzy": 1}, "field xyzzy: is not a field of a walk (a typo?)"),
        ({"first": {"length_m": 0}}, "field first.length_m: should be greater than 0 (given: 0)"),
        (
            {"first": {"length_m": float("inf")}},
            "field first.length_m: should be a finite number (given: inf)",
        ),
        ({"first": 3}, "field first: must be a table of named fields (given: 3)"),
        (GOOD | {"names": 3}, "field names: must be a table of named fields (given: 3)"),
        ([], "must be a table of named fields (given: [])"),
        (
            GOOD | {"others": [{"length_m": 1}, {"length_m": 1, "steps": [2, 0]}]},
            "field others.1.steps.1: should be greater than or equal to 1 (given: 0)",
        ),
        (GOOD | {"others": [{"width": 1, "length_m": 2}]}, "field others.0.width: is not a field of a walk"),
        ({"first": {"length_m": 1, "steps": [1]}}, "field first: needs an even number of steps"),
        (GOOD | {"title": 3}, "field title: should be a valid string (given: 3)"),
    ],
)
def test_what_does_not_fit_is_named_in_plain_words(value: object, problem: str) -> None:
    assert refusal(value).startswith(problem)


def test_a_misspelt_field_comes_before_the_one_it_leaves_missing() -> None:
    assert refusal({"fist": GOOD["first"]}).startswith(
        "field fist: is not a field of a walk (did you mean first?); field first: is missing"
    )


def test_every_fault_is_told_up_to_a_few() -> None:
    assert refusal({"first": {"length_m": 0}, "title": 3}).count("field ") == 2
    many = refusal(GOOD | {"others": [{}] * 9})
    assert many.count("is missing") == 5
    assert many.endswith("; and 4 more")


def test_a_long_value_is_cut() -> None:
    assert len(refusal(GOOD | {"names": "x" * 10_000})) < 150


def test_places_inside_a_record() -> None:
    assert fields_at(Walk, ("others", "3")) == ["length_m", "steps"]
    assert model_at(Walk, ("guide",)) is Leg
    assert model_at(Walk, ("title",)) is None
    assert nearest("titel", fields_at(Walk, ())) == "title"
    assert nearest("qqq", ["title"]) is None


_DEEP = {
    "lists": "a = " + "[" * 50_000,
    "lists in lines": "a = " + "[\n" * 450 + "]\n" * 450,
    "tables": "a = " + "{b = " * 101 + "1" + "}" * 101,
    "name": "a." * 20_000 + "a = 1",
    "quoted": '"=".' + "a." * 20_000 + "a = 1",
    "comma": '",".' + "a." * 20_000 + "a = 1",
    "inline": "x = {" + "b." * 1500 + "c = 1}",
    "heading": "[" + "a." * 1500 + "a]",
    "after five quotes": 'x = ["""a"""", {' + "a." * 1500 + 'a = "b"}]',
    "after a comment": '# "\n' + "a." * 1500 + 'a = 1 # "',
}


@pytest.mark.parametrize("text", _DEEP.values(), ids=_DEEP.keys())
def test_toml_that_nests_deep_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "walk.toml").write_text(text)
    with pytest.raises(ConfigError, match="nests more than 100 deep"):
        read_toml(tmp_path / "walk.toml", "a walk")


def test_dots_that_nest_nothing_are_no_depth(tmp_path: Path) -> None:
    text = (
        f'a = [{"0.25, " * 500}]\nb = \'{"." * 500}\'\nc = """{".[" * 500}"""\n# {"." * 500}\n' + "x.y = 1\n"
    )
    (tmp_path / "walk.toml").write_text(text)
    assert len(read_toml(tmp_path / "walk.toml", "a walk")["a"]) == 500


@pytest.mark.parametrize(
    "text",
    ['{"a":' * 480 + '"\\u0007"' + "}" * 480, "[" * 101 + "]" * 101, "[" * 10**6],
    ids=["control", "lists", "unended"],
)
def test_json_that_nests_deep_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "walk.json").write_text(text)
    with pytest.raises(DataError, match=r"nests more than 100 deep|not valid JSON"):
        read_json(tmp_path / "walk.json")


@pytest.mark.parametrize("content", [b"a = ", b"\xff\xfe\x00", b"a = 1\na = 2\n"])
def test_what_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "walk.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not valid TOML") as caught:
        read_toml_record(Walk, path, "a walk", hint="Walk anew.")
    assert (caught.value.where, caught.value.hint) == (str(path), "Walk anew.")


def test_missing_and_large_toml_files_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read") as caught:
            read_toml_record(Walk, path, "a walk")
        assert "Name a walk (a TOML file)" in (caught.value.hint or "")
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * (1024**2 + 1))
    with pytest.raises(ConfigError, match="is too large for a walk"):
        read_toml_record(Walk, large, "a walk")


def test_toml_and_json_give_the_same_record(tmp_path: Path) -> None:
    (tmp_path / "walk.toml").write_text("[first]\nlength_m = 2.5\n")
    (tmp_path / "walk.json").write_text(json.dumps(GOOD))
    walk = read_toml_record(Walk, tmp_path / "walk.toml", "a walk")
    assert walk == read_json_record(Walk, tmp_path / "walk.json", "a walk")
    (tmp_path / "walk.json").write_text("{}")
    with pytest.raises(DataError, match="field first: is missing"):
        read_json_record(Walk, tmp_path / "walk.json", "a walk")


READERS: list[tuple[str, Callable[[Path], BaseModel], str]] = [
    ("budget.toml", Budget.read, "[limits]\nneurons = 1\n"),
    ("profile.toml", read_profile, ""),
    ("experiment.toml", load_experiment, ""),
    (FILE_NAME, lambda path: read_deployment(path.parent), ""),
    ("manifest.json", lambda path: read_manifest(Manifest, path.parent), ""),
    ("report.json", read_report, f'"schema_version": {SCHEMA_VERSION}, '),
]


@pytest.mark.parametrize(("name", "read", "rest"), READERS, ids=[reader[0] for reader in READERS])
def test_every_reader_names_the_file_the_field_and_the_way_out(
    tmp_path: Path, name: str, read: Callable[[Path], BaseModel], rest: str
) -> None:
    path = tmp_path / name
    for content in ("zzzz = 1\n" + rest if name.endswith("toml") else "{" + rest + '"zzzz": 1}', "("):
        path.write_text(content)
        with pytest.raises(UserError) as caught:
            read(path)
        assert str(path) in caught.value.message
        assert caught.value.hint
        assert "pydantic" not in caught.value.message
        assert ("zzzz" in caught.value.message) == (content != "(")


def test_records_need_no_training_framework() -> None:
    code = "import sys, nsc_deploy.io.records; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("number", ["0x" + "f" * 4000, "9" * 5000, str(2**64), "[[-0b1" + "0" * 64 + "]]"])
def test_whole_numbers_that_toml_has_not_are_refused(tmp_path: Path, number: str) -> None:
    (tmp_path / "numbers.toml").write_text(f"name = 'a'\n[table]\nvalue = {number}\n")
    with pytest.raises(ConfigError, match=r"numbers\.toml: is not valid TOML"):
        read_toml(tmp_path / "numbers.toml", "a file of numbers")
