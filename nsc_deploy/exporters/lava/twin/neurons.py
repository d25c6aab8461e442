"""Lava's LIF and LIFReset as values, and what Lava does to their parameters before the first step."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError
from nsc_deploy.exporters.lava.emulator.connections import in_range, whole_numbers
from nsc_deploy.exporters.lava.emulator.kernels import Neurons

Value = NDArray[Any] | int

_RANGES = {
    "du": (0, 4095),
    "dv": (0, 4096),
    "vth": (0, 2**17 - 1),
    "bias_mant": (-4096, 4095),
    "bias_exp": (-15, 7),
    "u": (-(2**23), 2**23),
    "v": (-(2**23) + 1, 2**23 - 1),
}


@dataclass(frozen=True)
class LIF:
    """Lava's LIF; every parameter is one number, or one for each neuron.

    Attributes:
        size: number of neurons.
        du: decay of the current, 0..4095; 4095 leaves nothing of it, 0 takes 1/4096 a step.
        dv: decay of the potential, 0..4096; 0 takes nothing.
        vth: threshold, 0..2^17 - 1, in units of what arrives.
        bias_mant: mantissa of the bias, -4096..4095.
        bias_exp: its exponent, -15..7; below zero it shifts right, rounding down.
        u: current at the start, within 24 bits.
        v: potential at the start, within 24 bits.
    """

    size: int
    du: Value = 0
    dv: Value = 0
    vth: Value = 10
    bias_mant: Value = 0
    bias_exp: Value = 0
    u: Value = 0
    v: Value = 0

    @property
    def reset(self) -> tuple[int, int]:
        """Interval and offset of the clearing of the state; (0, 0) for none."""
        return 0, 0

    def scaled(self) -> Neurons:
        """The population as the kernel takes it.

        Raises:
            DataError: a parameter out of range or of another shape.
        """
        values = {name: self._vector(name) for name in _RANGES}
        mantissa, exponent = values["bias_mant"], values["bias_exp"]
        interval, offset = self.reset
        keep_u = (4096 - (values["du"] + 1)).astype(np.int32)
        return Neurons(
            keep_u=keep_u,
            keeps_current=bool(keep_u.any()),
            keep_v=(4096 - values["dv"]).astype(np.int32),
            bias=np.where(
                exponent >= 0, mantissa << np.maximum(exponent, 0), mantissa >> np.maximum(-exponent, 0)
            ).astype(np.int32),
            threshold=(values["vth"] << 6).astype(np.int32),
            u=values["u"],
            v=values["v"],
            reset_interval=interval,
            reset_offset=offset,
        )

    def _vector(self, name: str) -> NDArray[np.int32]:
        in_range(self, name, *_RANGES[name])
        values = whole_numbers(np.asarray(getattr(self, name)), name)
        if values.shape not in {(), (self.size,)}:
            raise DataError(
                f"has the shape {values.shape} for {self.size} neurons", where=f"{type(self).__name__} {name}"
            )
        return np.ascontiguousarray(np.broadcast_to(values, (self.size,)))


@dataclass(frozen=True)
class LIFReset(LIF):
    """Lava's LIFReset: the state is cleared before some steps, and what arrives in that step counts.

    Attributes:
        reset_interval: steps from one clearing to the next, at least 1.
        reset_offset: step t, counted from 1, clears if t mod interval = offset mod interval.
    """

    reset_interval: int = 1
    reset_offset: int = 0

    @property
    def reset(self) -> tuple[int, int]:
        """Interval and offset of the clearing of the state."""
        if self.reset_interval < 1:
            raise DataError("is below 1", where="LIFReset reset_interval")
        return self.reset_interval, self.reset_offset % self.reset_interval
