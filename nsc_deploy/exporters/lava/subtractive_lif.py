"""SubtractiveLIF: Lava neurons that reset by subtraction, with their potential on a port of its own.

This process is nsc-deploy's, not Intel's: lava-nc 0.10.0 has none that subtracts. It is Lava's LIFReset, in
the same integers, but for the reset, and has a second port:

    v[t] = min(max(decay(v[t-1]) + u[t] + bias, -2^23 + 1), 2^23 - 1),  s[t] = v[t] > vth << 6
    v[t] = v[t] - (vth << 6) where s[t] = 1                             s_out = s[t],  v_out = v[t]

Runs under Python 3.10 with lava-nc alone; a deployment folder that needs it holds a copy of this file. Pass
`Loihi2SimCfg(select_tag="fixed_pt")`. On Loihi 2 this is a program for its programmable neurons, which nobody
has published; Loihi 1 has none.
"""

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.models import AbstractPyLifModelFixed
from lava.proc.lif.process import LIFReset


class SubtractiveLIF(LIFReset):  # type: ignore[misc]
    """LIFReset (parameters and ports are its own) that subtracts, with the port `v_out`."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.v_out = OutPort(shape=parameters["shape"])


@implements(proc=SubtractiveLIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySubtractiveLIF(AbstractPyLifModelFixed):  # type: ignore[misc]
    """Its fixed-point model: Lava's arithmetic of currents and potentials, with a reset of its own."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    v_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    vth: int = LavaPyType(int, np.int32, precision=17)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._interval = proc_params["reset_interval"]
        self._offset = proc_params["reset_offset"] % self._interval

    def scale_threshold(self) -> None:
        """Put the threshold into the units of the potential."""
        self.effective_vth = np.broadcast_to(np.left_shift(self.vth, self.vth_shift), self.v.shape)
        self.isthrscaled = True

    def spiking_activation(self) -> Any:
        """Which neurons fire; equality is not enough."""
        return self.v > self.effective_vth

    def reset_voltage(self, spike_vector: Any) -> None:
        """Take the threshold off where a neuron fires."""
        self.v[spike_vector] -= self.effective_vth[spike_vector]

    def run_spk(self) -> None:
        """Begin from rest where a sample begins, take a step, and send the potential."""
        if self.time_step % self._interval == self._offset:
            self.u[:] = 0
            self.v[:] = 0
        super().run_spk()
        self.v_out.send(self.v)
