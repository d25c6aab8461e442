"""The text of the files of a folder: header, source, example and README."""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, FunctionLoader, StrictUndefined
from numpy.typing import NDArray

import nsc_deploy
from nsc_deploy.exporters.c.code import HERE, NO_MANIFEST, Origin
from nsc_deploy.exporters.c.emulator import emulate
from nsc_deploy.exporters.c.layout import Layer, Layout
from nsc_deploy.exporters.c.packing import Table
from nsc_deploy.io.text import counted

LINE = 110
MOST_EXAMPLE_WORDS = 1024
_VOTE_STEPS = 2**32 - 1


@dataclass(frozen=True)
class Harness:
    """What a main program hands to a step and gets from it; both fill whole words of 32 bits.

    Attributes:
        in_type: of an element that enters.
        in_size: how many.
        out_type: of an element that leaves.
        out_size: how many.
        call: the function behind "NAME_".
        decides: whether there is a decision at the end of a sample.
    """

    in_type: str
    in_size: int
    out_type: str
    out_size: int
    call: str
    decides: bool


def header_text(layout: Layout, origin: Origin, manifest_sha256: str = NO_MANIFEST) -> str:
    """NAME.h."""
    return _render("network.h.jinja", layout, origin, manifest_sha256=manifest_sha256)


def source_text(layout: Layout, origin: Origin) -> str:
    """NAME.c."""
    return _render("network.c.jinja", layout, origin, uses=_Uses.of(layout), arrays=_arrays(layout))


def example_text(layout: Layout, origin: Origin, events: NDArray[Any], about: str) -> str:
    """main.c, with what enters [steps, inputs] of one sample and the answer that the emulator gives."""
    samples = events.dtype == np.int16
    most = max(1, MOST_EXAMPLE_WORDS // packed(events[:1]).size)
    taken = events[:most]
    output = emulate(layout.program, taken[:, None]).output[:, 0]
    decision = None
    if layout.classes is not None:
        votes = output.sum(axis=0, dtype=np.int64).reshape(layout.classes, layout.group).sum(axis=1)
        decision = int(votes.argmax())
    return _render(
        "main.c.jinja",
        layout,
        origin,
        about=about,
        steps=len(taken),
        recorded=wrapped(
            [str(value) for value in taken.reshape(-1)]
            if samples
            else [f"0x{word:X}u" for word in packed_events(taken).reshape(-1)]
        ),
        expected=int(output[-1, 0]) if layout.program.gives_values else int(output.sum()),
        decision=decision,
    )


def readme_text(layout: Layout, origin: Origin, about: str) -> str:
    """README.md."""
    words = "OUTPUTS" if layout.program.gives_values else "OUTPUT_WORDS"
    return _render(
        "README.md.jinja",
        layout,
        origin,
        about=about,
        recording=origin.recording,
        state_bytes=sum(layout.state_bytes.values()),
        out_words=f"{layout.macro}_{words}",
    )


def harness_text(layout: Layout, template: str, **values: Any) -> str:
    """A main program that runs recorded samples, for `runners`."""
    program, front = layout.program, layout.front_end
    harness = Harness(
        in_type="uint32_t" if front is None else "int16_t",
        in_size=layout.input.words if front is None else 2 * -(-front.comparators.samples // 2),
        out_type="int32_t" if program.gives_values else "uint32_t",
        out_size=program.outputs if layout.output_ring is None else layout.output_ring.words,
        call=layout.entry,
        decides=layout.classes is not None,
    )
    return _render(template, layout, HERE, harness=harness, traced=traced_layers(layout), **values)


def linker_text(board: Any) -> str:
    """Where code and data lie on a board (see `qemu.Board`)."""
    return _environment().get_template("board.ld.jinja").render(board=board)


def traced_layers(layout: Layout) -> tuple[Layer, ...]:
    """Layers whose spikes a harness shows, in its order."""
    return tuple(one for one in layout.layers if one.spikes is not None)


def packed(entering: NDArray[Any]) -> NDArray[np.uint32]:
    """What enters a step [..., lines] in words: events a bit each, or samples of 16 bits, two a word."""
    if entering.dtype != np.int16:
        return packed_events(entering)
    even = np.zeros((*entering.shape[:-1], entering.shape[-1] + entering.shape[-1] % 2), "<i2")
    even[..., : entering.shape[-1]] = entering
    return even.view("<u4")


def packed_events(events: NDArray[Any]) -> NDArray[np.uint32]:
    """Events [..., lines] of 0 and 1 as bit maps [..., words], line 0 the lowest bit of word 0."""
    lines = events.shape[-1]
    full = np.zeros((*events.shape[:-1], -(-lines // 32) * 32), np.uint8)
    full[..., :lines] = events
    return np.packbits(full, axis=-1, bitorder="little").view("<u4")


@dataclass(frozen=True)
class _Uses:
    """Which helpers a source needs."""

    keeps: bool
    keep_tables: bool
    clips: bool
    events: bool
    slots: bool
    lanes: tuple[int, ...]
    rows: tuple[int, ...]

    @classmethod
    def of(cls, layout: Layout) -> "_Uses":
        """What the layers of a layout call."""
        layers = layout.layers
        values = [value for one in layers for value in (one.keep_v, one.keep_u) if value is not None]
        lanes = {each.bits for one in layers if one.lanes for each in one.deliveries}
        rows = {
            each.bits
            for one in layers
            if not one.lanes
            for each in one.deliveries
            if each.form in {"dense", "kernel"}
        }
        return cls(
            keeps=any(value.number not in {0, 4096} for value in values),
            keep_tables=any(value.table is not None for value in values),
            clips=any(one.clip_low or one.clip_high for one in layers),
            events=any(one.deliveries for one in layers)
            or (layout.classes is not None and not layout.program.gives_values),
            slots=bool(layout.ring_lengths),
            lanes=tuple(sorted(lanes)),
            rows=tuple(sorted(rows)),
        )


def _arrays(layout: Layout) -> list[tuple[str, int]]:
    """The arrays of the state and their sizes."""
    arrays = [("input", layout.input.words * layout.input.slots)]
    for one in layout.layers:
        if one.keep_u is not None:
            arrays.append((f"{one.name}_u", one.size))
        if one.remembers:
            arrays.append((f"{one.name}_v", one.size))
        if one.leaves:
            arrays.append((f"{one.name}_before", one.size))
        if one.spikes is not None:
            arrays.append((one.spikes.name, one.spikes.words * one.spikes.slots))
    sums = [("lanes", layout.lane_words), ("sums", layout.sums), ("votes", layout.classes or 0)]
    return arrays + [(name, size) for name, size in sums if size]


def _render(template: str, layout: Layout, origin: Origin, **values: Any) -> str:
    program = layout.program
    dt_ns = None if program.dt is None else round(program.dt * 1e9)
    return template_text(
        template,
        layout=layout,
        program=program,
        name=layout.name,
        macro=layout.macro,
        front=layout.front_end,
        tool=nsc_deploy.__version__,
        graph=comment(origin.graph),
        ready=origin.ready,
        what=_what(layout),
        dt_ns=dt_ns if dt_ns is not None and 0 < dt_ns < 2**32 else None,
        out="values" if program.gives_values else "spikes",
        out_type="int32_t" if program.gives_values else "uint32_t",
        line_type="uint16_t" if program.inputs <= 2**16 else "uint32_t",
        vote_type="int64_t" if program.gives_values else "uint32_t",
        vote_steps=_VOTE_STEPS // layout.group,
        **values,
    )


def template_text(template: str, /, **values: Any) -> str:
    """A template of this target with its values."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    folder = resources.files("nsc_deploy.exporters.c").joinpath("templates")
    environment = Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - C, not HTML; names of the graph enter comments only, made harmless
    )
    environment.globals.update(comment=comment, table_text=_table_text, lane_mask=_lane_mask)
    return environment


def comment(text: str) -> str:
    """Any text within a comment: printable ASCII on one line, and nothing that ends the comment."""
    plain = "".join(one if " " <= one <= "~" and one != "\\" else "_" for one in text)
    return plain.replace("*/", "*_").replace("/*", "_*").replace("??", "__")[:80]


def _what(layout: Layout) -> str:
    sizes = " -> ".join(str(one.size) for one in layout.layers) or "no"
    front_end = layout.program.front_end
    came = "" if front_end is None else f"{counted(front_end.samples, 'sample')} -> "
    return f"{came}{counted(layout.program.inputs, 'event line')} -> {sizes} neurons"


def _lane_mask(bits: int) -> str:
    return f"0x{(2**bits - 1) * 0x10001:08X}"


def _table_text(table: Table) -> str:
    unsigned = table.ctype.startswith("u")
    if table.ctype == "uint32_t":
        return wrapped([f"0x{value:X}u" for value in table.values.tolist()])
    return wrapped([f"{value}u" if unsigned else str(value) for value in table.values.tolist()])


def wrapped(numbers: list[str]) -> str:
    """Numbers of a table, as many a line as there is room for."""
    lines, line = [], "   "
    for number in numbers:
        if len(line) + len(number) + 2 > LINE:
            lines.append(line)
            line = "   "
        line += f" {number},"
    return "\n".join([*lines, line])
