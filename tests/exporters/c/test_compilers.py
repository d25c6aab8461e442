"""Clang out of a package: called as any compiler, and what it keeps lies where this tool keeps things."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from nsc_deploy.errors import BackendError
from nsc_deploy.exporters.c.compilers import STANDARD, STRICT, clang

needs_zig = pytest.mark.skipif(
    find_spec("ziglang") is None or shutil.which("clang") is not None,
    reason="no clang out of the package ziglang here",
)


@needs_zig
def test_clang_of_a_package_writes_nothing_but_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, cache, work = (tmp_path / name for name in ("home", "cache", "work"))
    for folder in (home, work):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    (work / "one.c").write_text("int one(void);\nint one(void)\n{\n    return 1;\n}\n")
    (work / "two.c").write_text("int two(void)\n{\n    int unused;\n    return 2;\n}\n")
    compiler = clang.__wrapped__()
    assert compiler is not None
    assert compiler.version.startswith("clang version")
    options = ("-c", *STANDARD, *STRICT)
    compiler.build([work / "one.c"], work / "one.o", options, work)
    with pytest.raises(BackendError, match="unused"):
        compiler.build([work / "two.c"], work / "two.o", options, work)
    assert (work / "one.o").stat().st_size > 0
    assert not list(home.iterdir())
    assert [path.relative_to(cache) for path in cache.glob("*/*")] == [Path("nsc-deploy/zig")]
    assert {path.name for path in work.iterdir()} <= {"one.c", "two.c", "one.o", "zig-cache"}
