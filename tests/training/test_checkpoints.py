import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from nsc_deploy.errors import DataError, UserError
from nsc_deploy.training.checkpoints import StateIO, read_tensors, write_tensors

plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
)
states = st.recursive(
    plain | st.integers(0, 5).map(lambda size: torch.arange(float(size))),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@settings(max_examples=60, deadline=None)
@given(state=st.dictionaries(st.text(max_size=5), states, max_size=4))
def test_any_state_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "state.safetensors"
    StateIO().save_checkpoint(state, path)
    assert same(StateIO().load_checkpoint(path), state)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool, torch.bfloat16]
)
def test_tensors_of_every_type_and_layout_keep_their_bits(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"strided": torch.arange(12).reshape(3, 4).to(dtype).T, "scalar": torch.ones((), dtype=dtype)}
    write_tensors(tmp_path / "t.safetensors", tensors, {"loss": math.inf})
    read, note = read_tensors(tmp_path / "t.safetensors")
    assert same(read["strided"], tensors["strided"].contiguous())
    assert same(read["scalar"], tensors["scalar"])
    assert note == {"loss": math.inf}


def test_the_state_of_an_optimiser_goes_on_where_it_was(tmp_path: Path) -> None:
    def trained(steps: int, optimizer: torch.optim.Optimizer, weight: torch.Tensor) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            (weight**2).sum().backward()
            optimizer.step()

    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    trained(3, optimizer, weight)
    StateIO().save_checkpoint({"w": weight, "optimizer": optimizer.state_dict()}, tmp_path / "s.safetensors")
    trained(3, optimizer, weight)

    state = StateIO().load_checkpoint(tmp_path / "s.safetensors")
    again = state["w"].clone().requires_grad_()
    resumed = torch.optim.AdamW([again], lr=0.1)
    resumed.load_state_dict(state["optimizer"])
    trained(3, resumed, again)
    assert torch.equal(again, weight)


def test_something_without_a_form_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    StateIO().save_checkpoint({"epoch": 1}, path)
    with pytest.raises(TypeError, match="object"):
        StateIO().save_checkpoint({"epoch": object()}, path)
    assert StateIO().load_checkpoint(path) == {"epoch": 1}


def test_a_pickle_is_refused_without_being_loaded(tmp_path: Path) -> None:
    marker = tmp_path / "executed"

    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return marker.touch, ()

    path = tmp_path / "state.safetensors"
    path.write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(DataError, match="not a readable checkpoint"):
        StateIO().load_checkpoint(path)
    assert not marker.exists()


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_no_changed_byte_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, place: float, flip: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    tensors = {"w": torch.linspace(0, 1, 30), "b": torch.zeros(4)}
    write_tensors(path, tensors, {"epoch": 3})
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= flip
    path.write_bytes(content)
    try:
        read, note = read_tensors(path)
    except DataError as error:
        assert error.where == str(path)
    else:  # white space in the header may change without changing what it says
        assert same(read["w"], tensors["w"])
        assert same(read["b"], tensors["b"])
        assert note == {"epoch": 3}


@pytest.mark.parametrize("length", [0, 7, 8, 100, -1])
def test_a_file_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "cut.safetensors"
    write_tensors(path, {"w": torch.zeros(100)}, None)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError):
        read_tensors(path)


@pytest.mark.parametrize(
    "note",
    [{"dict": [["w", {"tensor": "99999"}]]}, {"dict": [1]}, {"dict": 1}, {"dict": [["w", {"a": 1, "b": 2}]]}],
)
def test_a_state_that_was_made_up_is_refused(tmp_path: Path, note: object) -> None:
    write_tensors(tmp_path / "state.safetensors", {"00000": torch.zeros(1)}, note)
    with pytest.raises(DataError, match="no training state"):
        StateIO().load_checkpoint(tmp_path / "state.safetensors")


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(DataError, match="digest"):
        read_tensors(tmp_path / "foreign.safetensors")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_tensors(tmp_path / "none.safetensors")


def test_the_folder_of_a_run_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    write_tensors(run / "checkpoints" / "last.safetensors", {}, 1)
    run.rename(tmp_path / "moved")
    with pytest.raises(UserError, match="run: is gone: it was moved or removed"):
        write_tensors(run / "checkpoints" / "last.safetensors", {}, 2)
    assert not run.exists()
    assert read_tensors(tmp_path / "moved" / "checkpoints" / "last.safetensors") == ({}, 1)
