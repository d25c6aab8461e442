"""What a whole node spends on an utterance, and how long a coin cell lasts: compute, radio, and rest.

    python examples/whole_node.py runs/sparse runs/qnn --per-hour 60 --rest-mw 0.42

Compute is the transmitter's energy with memory. The radio is charged the time of its channel uses, as if it
were on for all of them, and, second, for the symbols other than zero alone ("keyed"): a spike is one, a bit
always. Rest is a power drawn all the time. The receiver is at the other end, and not in these figures.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nsc_deploy.deployment import Side, read_deployment
from nsc_deploy.energy import estimate
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.formats.recording import read_recording
from nsc_deploy.graphs.simulate import simulate

VOLTS, TRANSMIT_AMPERES, SYMBOL_SECONDS = 3.0, 7.1e-3, 1e-6
"""Nordic Semiconductor, nRF52832 product specification 1.1, I_RADIO_TX0: 0 dBm at 1 Mb/s, 3 V, DC/DC."""
CELL_JOULES = 0.225 * 3600 * 3.0
"""A CR2032: 225 mAh at 3 V (IEC 60086); what a cell delivers falls with the current of the pulses."""
SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class Node:
    """One system, microjoules an utterance.

    Attributes:
        compute: transmitter, with memory.
        radio: on for all channel uses.
        radio_keyed: on for symbols other than zero alone.
    """

    compute: float
    radio: float
    radio_keyed: float

    def days(self, radio: float, per_hour: float, rest_mw: float) -> float:
        """On a coin cell."""
        watts = (self.compute + radio) * 1e-6 * per_hour / 3600 + rest_mw * 1e-3
        return CELL_JOULES / watts / SECONDS_A_DAY if watts else float("inf")


def measure(run: Path, profile: str) -> Node:
    """Price the transmitter of a run, and count what it sends."""
    [system] = estimate([run], profile).report.systems
    use = VOLTS * TRANSMIT_AMPERES * SYMBOL_SECONDS * 1e6
    uses = system.channel_uses or 0
    return Node(system.sides[Side.TRANSMITTER]["memory"].mean_uj, uses * use, _sent(run, uses) * use)


def _sent(run: Path, uses: int) -> float:
    """Symbols other than zero in a sample: the spikes of a NIR graph; of bits, every channel use."""
    last = [part for part in read_deployment(run).parts if part.side is Side.TRANSMITTER][-1]
    if not last.graph.endswith(".nir"):
        return uses
    output = simulate(read_network(run / last.graph), read_recording(run / last.recording).values).output
    return float(np.count_nonzero(output) / output.shape[1])


def main() -> None:
    """Print Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--profile", default="horowitz-45nm-int8")
    parser.add_argument("--per-hour", type=float, default=60.0, help="utterances")
    parser.add_argument("--rest-mw", type=float, default=0.0, help="drawn all the time")
    options = parser.parse_args()
    print("| Run | Compute uJ | Radio uJ | keyed uJ | Days on a CR2032 | keyed |\n|---|---|---|---|---|---|")
    for run in options.runs:
        node = measure(run, options.profile)
        radios = (node.radio, node.radio_keyed)
        days = [f"{node.days(radio, options.per_hour, options.rest_mw):,.0f}" for radio in radios]
        spent = [f"{one:.3g}" for one in (node.compute, *radios)]
        print(f"| {' | '.join([run.name, *spent, *days])} |")


if __name__ == "__main__":
    main()
