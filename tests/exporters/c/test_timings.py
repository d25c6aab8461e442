"""What instructions take: the bounds that Arm has published, by the kind of instruction."""

import pytest

from nsc_deploy.errors import BackendError
from nsc_deploy.exporters.c.timings import published, timings


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("adds\tr3, r3, r1", (1, 1)),
        ("ldr.w\tr2, [r4, #4]!", (1, 3)),
        ("str\tr3, [r2, #12]", (1, 3)),
        ("ldrd\tr0, r1, [r3, #-8]", (2, 4)),
        ("stmdb\tsp!, {r4, r5, r6, lr}", (4, 6)),
        ("pop\t{r4-r7, pc}", (5, 7)),
        ("udiv\tr0, r1, r2", (2, 12)),
        ("umull\tr0, r1, r2, r3", (1, 1)),
    ],
)
def test_instructions_have_the_bounds_of_their_kind(text: str, bounds: tuple[int, int]) -> None:
    assert timings()["cortex-m4"].of(text) == bounds


def test_cores_differ() -> None:
    assert timings()["cortex-m3"].of("umull\tr0, r1, r2, r3") == (3, 5)
    assert timings()["cortex-m0plus"].of("muls\tr0, r1, r0") == (1, 32)
    assert timings()["cortex-m0plus"].of("pop\t{r4-r7, pc}") == (6, 6)
    assert all(one.source for one in timings().values())


def test_no_instruction_is_slower_than_the_slowest() -> None:
    assert published("cortex-m4").slowest == 2 + 16 + 4
    assert published("cortex-m0plus").slowest == 32 + 3


def test_a_core_without_published_timings_says_so() -> None:
    with pytest.raises(BackendError, match="no cycles of instructions for cortex-m7") as caught:
        published("cortex-m7")
    assert caught.value.hint is not None
    assert "cortex-m4" in caught.value.hint
