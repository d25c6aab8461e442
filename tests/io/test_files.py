import io
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from nsc_deploy.errors import DataError, UserError
from nsc_deploy.io.files import read_json, replacing, require_writable, sha256, write_json, write_text
from nsc_deploy.io.npz import load_npz, save_npz

FILE_SIZE_LIMIT = 100_000


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class TestReplacing:
    def test_the_new_file_takes_the_place_of_the_old_one(self, tmp_path: Path) -> None:
        target = tmp_path / "deep" / "er" / "a.txt"
        write_text(target, "old")
        write_text(target, "new ✓")
        assert target.read_text(encoding="utf-8") == "new ✓"
        assert names(target.parent) == {"a.txt"}

    def test_a_failure_half_way_leaves_the_old_file_and_nothing_else(self, tmp_path: Path) -> None:
        target = tmp_path / "a.txt"
        target.write_text("old")
        with pytest.raises(ZeroDivisionError), replacing(target) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError
        assert target.read_text() == "old"
        assert names(tmp_path) == {"a.txt"}

    def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(self, tmp_path: Path) -> None:
        target = tmp_path / "a.txt"
        target.write_text("old")
        with replacing(target) as temporary:
            temporary.write_text("new")
            assert target.read_text() == "old"
        assert target.read_text() == "new"

    def test_the_file_gets_the_permissions_any_new_file_gets(self, tmp_path: Path) -> None:
        before = os.umask(0o027)
        try:
            write_text(tmp_path / "a.txt", "text")
        finally:
            os.umask(before)
        assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640

    def test_a_folder_in_the_place_of_a_parent_is_a_clear_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(UserError, match="cannot be written") as caught:
            write_text(tmp_path / "file" / "a.txt", "text")
        assert caught.value.where == str(tmp_path / "file" / "a.txt")
        assert caught.value.hint

    @pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc here")
    def test_a_place_that_nobody_may_write_is_a_clear_error(self) -> None:
        with pytest.raises(UserError, match="cannot be written"):
            write_text(Path("/proc/self/a.txt"), "text")

    def test_no_space_left_is_a_clear_error_and_loses_nothing(self, tmp_path: Path) -> None:
        """The kernel refuses to let a file grow: a real EFBIG in the middle of a real write."""
        target = tmp_path / "a.npz"
        save_npz(target, {"kept": np.arange(3)})
        script = textwrap.dedent(
            """
            import sys
            from pathlib import Path
            import numpy as np
            from nsc_deploy.errors import UserError
            from nsc_deploy.io.npz import save_npz
            noise = np.random.default_rng(0).integers(0, 256, 1_000_000, dtype=np.uint8)
            try:
                save_npz(Path(sys.argv[1]), {"noise": noise})
            except UserError as error:
                print(error.message)
            """
        )
        answer = subprocess.run(
            [sys.executable, "-c", script, str(target)],
            capture_output=True,
            text=True,
            check=True,
            preexec_fn=_limit_file_size,
        )
        assert answer.stdout.startswith(f"{target}: cannot be written (File too large)")
        assert names(tmp_path) == {"a.npz"}
        assert load_npz(target)["kept"].tolist() == [0, 1, 2]

    def test_a_killed_writer_leaves_the_old_file(self, tmp_path: Path) -> None:
        target = tmp_path / "a.txt"
        write_text(target, "old")
        script = textwrap.dedent(
            """
            import os, signal, sys
            from pathlib import Path
            from nsc_deploy.io.files import replacing
            with replacing(Path(sys.argv[1])) as temporary:
                temporary.write_text("half")
                os.kill(os.getpid(), signal.SIGKILL)
            """
        )
        answer = subprocess.run([sys.executable, "-c", script, str(target)], check=False)
        assert answer.returncode == -signal.SIGKILL
        assert target.read_text() == "old"


def _limit_file_size() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE_LIMIT, FILE_SIZE_LIMIT))


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


class TestJson:
    def test_a_value_comes_back(self, tmp_path: Path) -> None:
        value = {"a": [1, 2.5, None, "ü"], "b": {}}
        write_json(tmp_path / "a.json", value)
        assert read_json(tmp_path / "a.json") == value

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_what_json_cannot_say_is_refused_before_anything_is_written(
        self, tmp_path: Path, value: float
    ) -> None:
        write_json(tmp_path / "a.json", 1)
        with pytest.raises(ValueError, match="JSON"):
            write_json(tmp_path / "a.json", value)
        assert read_json(tmp_path / "a.json") == 1

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"{", "not valid JSON"),
            (b"\xff\xfe", "not valid JSON"),
            (b"[" * 200_000, "not valid JSON"),
            (b"", "not valid JSON"),
        ],
    )
    def test_damage_is_named(self, tmp_path: Path, content: bytes, problem: str) -> None:
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(DataError, match=problem) as caught:
            read_json(tmp_path / "a.json")
        assert caught.value.where == str(tmp_path / "a.json")

    def test_a_missing_file_and_a_folder_are_named(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none.json", tmp_path):
            with pytest.raises(DataError, match="cannot be read") as caught:
                read_json(path)
            assert caught.value.where == str(path)

    def test_an_enormous_file_is_refused_unread(self, tmp_path: Path) -> None:
        with (tmp_path / "a.json").open("wb") as stream:
            stream.truncate(65 * 1024**2)
        with pytest.raises(DataError, match="too large"):
            read_json(tmp_path / "a.json")


plain_arrays = st.sampled_from(["?", "u1", "i8", "f4", "f8", "c8", ">i4", "U3", "S2"]).flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)


def archive(path: Path, members: dict[str, bytes], **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as stream:
        for name, content in members.items():
            stream.writestr(name, content)
    return path


def npy(descr: str, shape: str, data: bytes = b"", *, fortran: str = "False") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode("latin1")
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


class TestNpz:
    @given(arrays=st.dictionaries(st.sampled_from("abc"), plain_arrays, max_size=3))
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_arrays_come_back(self, tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
        save_npz(tmp_path / "a.npz", arrays)
        loaded = load_npz(tmp_path / "a.npz")
        assert loaded.keys() == arrays.keys()
        for name, array in arrays.items():
            assert loaded[name].dtype == array.dtype
            np.testing.assert_array_equal(loaded[name], array)

    def test_column_order_and_numpy_s_own_files_are_read(self, tmp_path: Path) -> None:
        array = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))
        np.savez(tmp_path / "a.npz", a=array)
        loaded = load_npz(tmp_path / "a.npz")["a"]
        np.testing.assert_array_equal(loaded, array)
        loaded += 1  # what is loaded belongs to the caller

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (npy("'<f8'", "(1000,)", b"\0" * 8), "another amount of data"),
            (npy("'<f8'", "(1,)", b"\0" * 16), "another amount of data"),
            (npy("'<f8'", "(-1,)"), "impossible shape"),
            (npy("'<f8'", "(True,)", b"\0" * 8), "impossible shape"),
            (npy("'<f8'", "(2.0,)", b"\0" * 16), "damaged header"),
            (npy("'<f8'", "[1]", b"\0" * 8), "damaged header"),
            (npy("'|O'", "(1,)", b"\0" * 8), "only plain numbers"),
            (npy("[('a', '<f8')]", "(1,)", b"\0" * 8), "only plain numbers"),
            (npy("'<f7'", "(1,)", b"\0" * 7), "damaged header"),
            (npy("'<f8'", "(1,)", b"\0" * 8, fortran="1"), "damaged header"),
            (npy("'<f8''''", "(1,)", b"\0" * 8), "damaged header"),
            (npy("'<f8'", "(" * 300 + "1,"), "damaged header"),
            (npy("__import__('os').abort()", "(1,)"), "damaged header"),
            (b"\x93NUMPY\x01\x00\x10\x00{1: 2}          ", "damaged header"),
            (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{", "damaged header"),
            (b"\x93NUMPY\x09\x00\x00\x00", "not a numpy array"),
            (b"GIF89a", "not a numpy array"),
            (b"", "not a numpy array"),
        ],
    )
    def test_a_member_of_another_form_is_refused(self, tmp_path: Path, content: bytes, problem: str) -> None:
        path = archive(tmp_path / "a.npz", {"a.npy": content})
        with pytest.raises(DataError, match=problem) as caught:
            load_npz(path)
        assert caught.value.where == str(path)

    def test_pickled_objects_are_never_loaded(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", a=np.array([{"any": "thing"}], dtype=object))
        with pytest.raises(DataError, match="only plain numbers"):
            load_npz(tmp_path / "a.npz")

    def test_more_than_allowed_is_refused_unread(self, tmp_path: Path) -> None:
        save_npz(tmp_path / "a.npz", {"a": np.zeros(10_000, np.uint8)})
        assert load_npz(tmp_path / "a.npz", max_bytes=11_000)["a"].size == 10_000
        with pytest.raises(DataError, match="more than the 9999 allowed"):
            load_npz(tmp_path / "a.npz", max_bytes=9_999)

    def test_a_small_file_that_claims_a_huge_array_takes_no_memory(self, tmp_path: Path) -> None:
        buffer = io.BytesIO(
            archive(tmp_path / "a.npz", {"a.npy": npy("'|u1'", "(4000000000,)")}).read_bytes()
        )
        content = bytearray(buffer.getvalue())
        central = content.index(b"PK\x01\x02")
        content[central + 24 : central + 28] = (4_000_000_080).to_bytes(4, "little")
        (tmp_path / "a.npz").write_bytes(content)
        script = textwrap.dedent(
            """
            import re, sys
            from pathlib import Path
            from nsc_deploy.errors import DataError
            from nsc_deploy.io.npz import load_npz
            def peak():
                return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
            before = peak()
            try:
                load_npz(Path(sys.argv[1]))
            except DataError as error:
                print(peak() - before, error)
            """
        )
        # In a process of its own: whatever ran here before may have had a higher peak.
        command = [sys.executable, "-c", script, str(tmp_path / "a.npz")]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "claims more than it can hold" in told
        assert int(told.split()[0]) < 100_000  # KiB

    def test_an_encrypted_or_oddly_packed_archive_is_refused(self, tmp_path: Path) -> None:
        path = archive(tmp_path / "a.npz", {"a.npy": npy("'|u1'", "()", b"1")})
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(content)
        with pytest.raises(DataError, match="encrypted"):
            load_npz(path)
        archive(path, {"a.npy": npy("'|u1'", "()", b"1")}, compression=zipfile.ZIP_LZMA)
        with pytest.raises(DataError, match="packed in an unknown way"):
            load_npz(path)

    @pytest.mark.parametrize("content", [b"", b"PK", b"PK\x03\x04" + b"\0" * 40, b"not a zip at all"])
    def test_what_is_no_archive_is_named(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"not a valid \.npz") as caught:
            load_npz(tmp_path / "a.npz")
        assert caught.value.where == str(tmp_path / "a.npz")

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="cannot be read"):
            load_npz(tmp_path / "none.npz")

    def test_flipped_bytes_give_the_same_arrays_or_an_error_never_others(self, tmp_path: Path) -> None:
        arrays = {"a": np.arange(50, dtype=np.int64), "b": np.ones((3, 4), np.float32)}
        mutated_archives_give_these_or_an_error(tmp_path / "a.npz", arrays, seed=1, rounds=800)


def mutated_archives_give_these_or_an_error(
    path: Path, arrays: dict[str, np.ndarray], *, seed: int, rounds: int
) -> None:
    save_npz(path, arrays)
    original = path.read_bytes()
    rng = np.random.default_rng(seed)
    outcomes: dict[str, int] = {"same": 0, "refused": 0}
    for _ in range(rounds):
        content = mutation(rng)(rng, bytearray(original))
        path.write_bytes(content)
        try:
            loaded = load_npz(path)
        except DataError:
            outcomes["refused"] += 1
            continue
        for name in loaded.keys() & arrays.keys():
            np.testing.assert_array_equal(loaded[name], arrays[name])
        outcomes["same"] += 1
    assert outcomes["refused"] > rounds // 4
    assert outcomes["same"] > 0


Mutation = Callable[[np.random.Generator, bytearray], bytearray]


def mutation(rng: np.random.Generator) -> Mutation:
    kinds: list[Mutation] = [flipped, truncated]
    return kinds[int(rng.integers(len(kinds)))]


def flipped(rng: np.random.Generator, content: bytearray) -> bytearray:
    for place in rng.integers(len(content), size=int(rng.integers(1, 5))):
        content[place] ^= int(rng.integers(1, 256))
    return content


def truncated(rng: np.random.Generator, content: bytearray) -> bytearray:
    return content[: int(rng.integers(len(content)))]


def test_json_of_a_run_is_indented_for_people(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1})
    assert (tmp_path / "a.json").read_text() == json.dumps({"b": 1}, indent=2) + "\n"


class TestRequireWritable:
    def test_it_leaves_nothing_where_a_file_can_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "old").write_text("kept")
        for path in (tmp_path / "new", tmp_path / "old", tmp_path / "a" / "b" / "c"):
            require_writable(path)
        assert [path.name for path in tmp_path.iterdir()] == ["old"]

    @pytest.mark.parametrize(
        ("place", "words"),
        [("file/new", "A part of this path is a file"), (".", "name a file"), ("/proc/new/file", "place")],
    )
    def test_it_names_the_place_and_the_way_out(self, tmp_path: Path, place: str, words: str) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(UserError, match="cannot be written") as caught:
            require_writable(tmp_path / place)
        assert caught.value.where == str(tmp_path / place)
        assert words in str(caught.value.hint)
