"""The integers of networks in 8 bits: what is written is read back, and damage is told."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nsc_deploy.errors import DataError
from nsc_deploy.exporters.c.int8.emulator import emulate
from nsc_deploy.exporters.c.int8.store import read_int8, write_int8
from nsc_deploy.io.npz import load_npz, save_npz
from tests.support.int8 import KINDS, code, reals


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_is_what_it_was(kind: str, tmp_path: Path) -> None:
    made = code(tmp_path, kind)
    write_int8(tmp_path / "p.npz", made.int8)
    read = read_int8(tmp_path / "p.npz")
    entering = made.entering(reals(kind, 2))
    np.testing.assert_array_equal(emulate(read, entering), emulate(made.int8, entering))
    assert (read.classes, read.group, read.whole) == (made.int8.classes, made.int8.group, made.int8.whole)


@pytest.mark.parametrize(
    ("kind", "name", "change", "problem"),
    [
        ("dense", "0.0.shift", lambda one: one * 0, "could leave 64 bits"),
        ("dense", "0.0.bias", lambda one: one * 0 + (2**31 - 1), "could leave 32 bits"),
        ("dense", "1.0.weight", lambda one: one[:, 1:], "numbers, and 18 arrive"),
        ("dense", "0.limits", lambda one: one + 1000, "limits beyond its bits"),
        ("dense", "sizes", lambda one: one * [1, 7, 1, 1], "votes with other outputs"),
        ("dense", "scales", lambda one: -one, "scales that are none"),
        ("gru", "0.1.weight", lambda one: one[:6], "has a bias of another kind"),
        ("gru", "kinds", lambda one: np.array(["lstm", "dense"]), "another number of gates"),
        ("image", "0.windows", lambda one: one * 0, "impossible windows"),
        ("image", "1.windows", lambda one: np.append(one[:-1], 4), "channels that its groups do not share"),
        ("image", "kinds", lambda one: np.array(["magic"] * len(one)), "does not hold a network"),
    ],
)
def test_numbers_that_the_code_could_not_hold_are_refused(
    kind: str, name: str, change: Any, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "p.npz"
    write_int8(path, code(tmp_path, kind).int8)
    arrays = dict(load_npz(path))
    arrays[name] = change(arrays[name]).astype(arrays[name].dtype)
    save_npz(path, arrays)
    with pytest.raises(DataError, match=problem):
        read_int8(path)
