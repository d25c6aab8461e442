"""A picture of what a run sends for one sample over a channel for bits: every step sent and as it arrived.

The bits sent are what the transmitter's graph makes of its recorded inputs, those received the recorded
inputs of the receiver. White is 0, black is 1; of the bits received those that arrived otherwise are red, and
those that were erased and are read as one half yellow.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.deployment import Deployment, Part, Side, read_deployment
from nsc_deploy.errors import ConfigError
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.formats.recording import read_recording
from nsc_deploy.io.pictures import require_format, save_figure

Bits = NDArray[np.float32]
_MOST_COLUMNS = 16
_COLOURS = {"white": 0.0, "#1f2933": 1.0, "#f6a5a5": 2.0, "#b91c1c": 3.0, "#f2c14e": 4.0}
"""0 and 1 as sent, 0 and 1 that were sent as the other, and one half, which an erased bit is read as."""
_HALF = 0.5


@dataclass(frozen=True, eq=False)
class Sent:
    """One sample on its way.

    Attributes:
        image: what entered the system, channels first [c, H, W], or None where it is no image.
        sent: bits [n, k, h, w].
        received: of the same shape.
        label: name of the class it is of; empty where none is recorded.
        channel: as a person writes it.
    """

    image: NDArray[np.float32] | None
    sent: Bits
    received: Bits
    label: str
    channel: str

    @property
    def wrong(self) -> int:
        """Bits that arrived as the other."""
        return int(((self.sent != self.received) & (self.received != _HALF)).sum())

    @property
    def erased(self) -> int:
        """Bits that were erased and are read as one half; those read by chance look like any other."""
        return int((self.received == _HALF).sum())

    @property
    def marked(self) -> Bits:
        """The bits received, each as the number of its colour."""
        apart = self.received + 2 * (self.sent != self.received)
        return np.where(self.received == _HALF, _COLOURS["#f2c14e"], apart)


def draw_sent(run: Path, sample: int, path: Path) -> Sent:
    """Draw the bits of one recorded sample of a run; the name's ending decides the format (.svg, .png, .pdf).

    Args:
        run: a finished run whose system sends bits.
        sample: which of the recorded samples, counted from 0.
        path: the file to write.

    Raises:
        ConfigError: the run sends something else, there is no such sample, or another ending.
        DataError: the run is damaged.
        UserError: the place cannot be written.
    """
    require_format(path)
    found = sent_of(run, sample)
    save_figure(_figure(found, sample), path)
    return found


def sent_of(run: Path, sample: int) -> Sent:
    """The bits of one recorded sample; arguments and errors as of `draw_sent`."""
    deployment = read_deployment(run)
    channel = deployment.channel
    if deployment.coding is not None:
        raise ConfigError(
            f"codes source and channel apart ({deployment.coding.source}), and this draws bits as a codec "
            "sends them",
            where=run,
            hint="Name the run of a codec for features: snn-sc, cnn-sc and the like.",
        )
    if channel.p is None:
        raise ConfigError(
            f"sends symbols over a channel with noise ({channel.kind}), and this draws bits",
            where=run,
            hint="Name the run of a system for features: snn-sc, cnn-sc and the like.",
        )
    senders = [part for part in deployment.parts if part.side is Side.TRANSMITTER]
    receivers = [part for part in deployment.parts if part.side is Side.RECEIVER]
    if not senders or not receivers:
        raise ConfigError("has no parts at one end of the channel", where=run)
    entering = read_recording(run / senders[0].recording)
    if not 0 <= sample < entering.samples:
        raise ConfigError(
            f"there is no sample {sample}: {entering.samples} are recorded, counted from 0", where="--sample"
        )
    image = entering.values[0, sample].astype(np.float32)
    received = read_recording(run / receivers[0].recording).values[:, sample].astype(np.float32)
    sent = _output(run, senders[-1], sample)
    if sent.shape != received.shape or sent.ndim != 4:
        raise ConfigError(
            f"sends values of the shape {sent.shape}, receives {received.shape}, and this draws maps of bits",
            where=run,
        )
    return Sent(
        image=image if image.ndim == 3 and image.shape[0] in {1, 3} else None,
        sent=sent,
        received=received,
        label=_label(deployment, entering.labels, sample),
        channel=f"{channel.kind} p {channel.p:g}" + ("" if channel.p_to is None else f" to {channel.p_to:g}"),
    )


def _label(deployment: Deployment, labels: NDArray[np.int64] | None, sample: int) -> str:
    if labels is None or not labels[sample] < len(deployment.class_names):
        return ""
    return str(deployment.class_names[labels[sample]])


def _output(run: Path, part: Part, sample: int) -> Bits:
    """What the last part before the channel gives for a sample."""
    inputs = read_recording(run / part.recording).values[:, sample : sample + 1].astype(np.float32)
    if part.graph.endswith(".nir"):
        from nsc_deploy.graphs.simulate import simulate

        return simulate(read_network(run / part.graph), inputs).output[:, 0]
    from nsc_deploy.graphs.onnx_run import run_onnx

    return run_onnx(run / part.graph, inputs)[:, 0]


def _figure(found: Sent, sample: int) -> Any:
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    steps = len(found.sent)
    columns = min(steps, _MOST_COLUMNS)
    rows = math.ceil(steps / columns)
    colours = ListedColormap(list(_COLOURS)).with_extremes(bad="#c8ced6")
    figure = Figure(figsize=(1.6 + 1.1 * columns, 0.9 + 1.7 * rows), layout="constrained")
    left, right = np.asarray(figure.subfigures(1, 2, width_ratios=(1.5, 1.1 * columns)))
    _draw_image(left, found, sample)
    panels = np.atleast_2d(right.subplots(2 * rows, columns, squeeze=False))
    for step in range(rows * columns):
        row, column = divmod(step, columns)
        for offset, (name, bits) in enumerate((("sent", found.sent), ("received", found.marked))):
            axes = panels[2 * row + offset, column]
            axes.set_xticks([])
            axes.set_yticks([])
            if step >= steps:
                axes.set_axis_off()
                continue
            axes.imshow(
                tiles(bits[step]), cmap=colours, vmin=0, vmax=len(_COLOURS) - 1, interpolation="nearest"
            )
            if column == 0:
                axes.set_ylabel(name, fontsize=8)
            if offset == 0:
                axes.set_title(str(step + 1), fontsize=8)
    ones = 100 * float(found.sent.mean())
    lost = f", {found.erased} are erased" if found.erased else ""
    figure.suptitle(
        f"{found.channel}: {found.sent.size} bits, {ones:.0f} % ones, {found.wrong} arrive otherwise{lost}",
        fontsize=9,
    )
    return figure


def _draw_image(figure: Any, found: Sent, sample: int) -> None:
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_title(f"sample {sample}" + (f"\n{found.label}" if found.label else ""), fontsize=8)
    if found.image is not None:
        low, high = found.image.min(), found.image.max()
        shown = (found.image - low) / max(high - low, 1e-9)
        axes.imshow(shown[0] if len(shown) == 1 else shown.transpose(1, 2, 0), cmap="gray")


def tiles(maps: Bits) -> Bits:
    """Maps [k, h, w] side by side in a grid as near to a square as k divides, a line of NaN between."""
    rows = next(rows for rows in range(math.isqrt(len(maps)), 0, -1) if len(maps) % rows == 0)
    padded = np.pad(maps, ((0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    height, width = padded.shape[1:]
    grid = padded.reshape(rows, -1, height, width).transpose(0, 2, 1, 3).reshape(rows * height, -1)
    picture: Bits = grid[:-1, :-1]
    return picture
