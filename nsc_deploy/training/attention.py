"""When and where a trained system attends: its gates over time and channel for one utterance."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from nsc_deploy.config.speech import SpeechExperiment
from nsc_deploy.data import load_events
from nsc_deploy.deployment import Side
from nsc_deploy.errors import ConfigError
from nsc_deploy.graphs.network import Signal
from nsc_deploy.io.files import require_writable
from nsc_deploy.io.pictures import require_format, save_figure
from nsc_deploy.models.export import record_stages
from nsc_deploy.training.batches import stream
from nsc_deploy.training.run_directory import read_experiment_of
from nsc_deploy.training.start import load_system


@runtime_checkable
class Attentive(Protocol):
    """A stage with a gate. One that emits events is made of spikes alone, and so is its gate."""

    takes: Signal
    emits: Signal

    def attention(self, signal: Tensor) -> Tensor:
        """The gate [T, B, C] over a signal [T, B, C]."""
        ...


@dataclass(frozen=True)
class AttentionMap:
    """One gate at work.

    Attributes:
        side: the end of the link it is at.
        signal: what it sees [T, C].
        gate: what it lets pass [T, C]: 1 is everything, 0 nothing.
        sees_events: whether the signal is events; else it is amplitudes.
        gate_spikes: whether the gate is 0 or 1; an analog one is a factor that may lie beyond both.
    """

    side: Side
    signal: NDArray[np.float32]
    gate: NDArray[np.float32]
    sees_events: bool
    gate_spikes: bool

    def as_json(self) -> dict[str, object]:
        """The gate in figures, as a value `json` can write."""
        return {
            "side": self.side.value,
            "sees": "events" if self.sees_events else "amplitudes",
            "gate": "spikes" if self.gate_spikes else "factors",
            "steps": self.gate.shape[0],
            "channels": self.gate.shape[1],
            "mean": float(self.gate.mean()),
            "lowest": float(self.gate.min()),
            "highest": float(self.gate.max()),
            "mean_of_each_step": self.gate.mean(1).tolist(),
        }


@dataclass(frozen=True)
class Attention:
    """The gates of one system for one utterance.

    Attributes:
        system: its name.
        sample: index in the test set.
        class_name: what was said.
        dt: length of a step in seconds.
        maps: one for each gate, the transmitter's first.
    """

    system: str
    sample: int
    class_name: str
    dt: float
    maps: tuple[AttentionMap, ...]

    def as_json(self) -> dict[str, object]:
        """The gates in figures, as a value `json` can write."""
        return {
            "system": self.system,
            "sample": self.sample,
            "class": self.class_name,
            "dt": self.dt,
            "gates": [one.as_json() for one in self.maps],
        }


def attention_of(run: Path, sample: int) -> Attention:
    """Run one test sample through a trained system and keep its gates.

    Args:
        run: the run directory.
        sample: index in the test set.

    Raises:
        ConfigError: the system has no attention, or there is no such sample.
        DataError: the run or its data set is missing or damaged.
    """
    experiment = read_experiment_of(SpeechExperiment, run)
    data = load_events(experiment.data)
    if not 0 <= sample < len(data.test):
        raise ConfigError(
            "there is no such test sample",
            where=f"--sample {sample}",
            hint=f"The test set has samples 0 to {len(data.test) - 1}.",
        )
    system = load_system(run, data)
    one = data.test.take(np.array([sample]))
    maps = []
    for stage_run in record_stages(system, one, stream(experiment.training.seed, "attention", sample)):
        stage = stage_run.stage
        if isinstance(stage, Attentive):
            with torch.no_grad():
                gate = stage.attention(torch.from_numpy(stage_run.inputs))[:, 0].numpy()
            kinds = stage.takes is Signal.EVENTS, stage.emits is Signal.EVENTS
            maps.append(AttentionMap(stage_run.side, stage_run.inputs[:, 0], gate, *kinds))
    if not maps:
        raise ConfigError(
            f"{experiment.system.name} has no attention to show",
            where=run,
            hint="Name a run of att-neurosc.",
        )
    name = f"{experiment.system.name} ({experiment.system.receiver})"
    return Attention(name, sample, data.class_names[int(one.labels[0])], data.dt, tuple(maps))


def check_picture(path: Path) -> None:
    """Refuse a picture that could not be written, before the work on it.

    Raises:
        ConfigError: a suffix that matplotlib does not know.
        UserError: the place cannot be written.
    """
    require_format(path)
    require_writable(path)


def write_attention(attention: Attention, path: Path) -> None:
    """Draw the gates as a picture; the suffix (.png, .svg, .pdf) decides the format.

    Raises:
        ConfigError: a suffix that matplotlib does not know.
        UserError: the place cannot be written.
    """
    check_picture(path)
    figure = Figure(figsize=(12, 3.6 * len(attention.maps)), layout="constrained")
    figure.suptitle(f"{attention.system}: '{attention.class_name}' (test sample {attention.sample})")
    rows = figure.subplots(len(attention.maps), 3, squeeze=False, width_ratios=(4, 4, 2))
    for axes, gate in zip(rows, attention.maps, strict=True):
        _draw(axes, gate, attention.dt)
    save_figure(figure, path)


def _draw(axes: NDArray[Any], shown: AttentionMap, dt: float) -> None:
    signal, gate, when = axes
    seconds, channels = shown.gate.shape[0] * dt, shown.gate.shape[1]
    extent = (0.0, seconds, -0.5, channels - 0.5)
    seen = shown.signal if shown.sees_events else np.abs(shown.signal)
    _image(signal, seen, extent, "Greys", f"{shown.side}: {'events' if shown.sees_events else 'amplitudes'}")
    spread = float(np.abs(shown.gate - 1).max())
    colours, limits = ("Blues", (0.0, 1.0)) if shown.gate_spikes else ("RdBu_r", (1 - spread, 1 + spread))
    image = _image(gate, shown.gate, extent, colours, "gate: where and when", limits)
    gate.figure.colorbar(image, ax=gate, label="passes (1 = as it is)", shrink=0.9)
    steps = (np.arange(len(shown.gate)) + 0.5) * dt
    when.plot(steps, shown.gate.mean(1), drawstyle="steps-mid", color="tab:blue")
    when.set(title="gate: when", xlabel="time (s)", ylabel="mean over channels")
    when.grid(alpha=0.3)


def _image(
    axes: Axes,
    values: NDArray[np.float32],
    extent: tuple[float, float, float, float],
    colours: str,
    title: str,
    limits: tuple[float | None, float | None] = (None, None),
) -> Any:
    image = axes.imshow(
        values.T,
        origin="lower",
        aspect="auto",
        extent=extent,
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
        interpolation="nearest",
    )
    axes.set(title=title, xlabel="time (s)", ylabel="channel")
    return image
