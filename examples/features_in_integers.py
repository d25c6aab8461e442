"""Accuracy of a whole spiking feature system with the parts for a chip in integers, beside floating point.

    python examples/features_in_integers.py RUN [--bits 8] [--draws 10]

Encoder and decoder are exported to C (what it cannot hold stays on the host: --split) and run in the emulator
of that code, on the recorded images. Both systems meet the same noise in each draw of the channel.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from nsc_deploy.channels.binary import BinaryChannel
from nsc_deploy.channels.config import BinaryChannelConfig
from nsc_deploy.deployment import read_deployment
from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.verify import open_deployment
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.formats.recording import read_recording
from nsc_deploy.graphs.onnx_run import run_onnx
from nsc_deploy.verification.runner import ReferenceRunner


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--bits", type=int, default=8, help="of a weight")
    parser.add_argument("--draws", type=int, default=10, help="of the channel")
    options = parser.parse_args()
    run, chips = options.run, ("transmitter", "receiver")
    with tempfile.TemporaryDirectory() as folder:
        integers = {name: in_integers(run, name, Path(folder) / name, options.bits) for name in chips}
        floats = {name: ReferenceRunner(read_network(run / f"{name}.nir")) for name in chips}
        for label, runners in (("floating point", floats), (f"{options.bits}-bit integers", integers)):
            accuracy = [accuracy_of(run, runners, draw) for draw in range(options.draws)]
            deviation = np.std(accuracy, ddof=min(1, options.draws - 1))
            print(f"{label:>16}: {100 * np.mean(accuracy):.2f} % (std {100 * deviation:.2f})")


def in_integers(run: Path, part: str, out: Path, bits: int):
    """What runs a part in the emulator of its C code, host parts around it included."""
    export_all(run, "c", out, part=part, bits=bits, split=True)
    return open_deployment(out).runners["emulator"](RunSettings(layers=False))


def accuracy_of(run: Path, runners, draw: int) -> float:
    """Of the recorded images over one draw of the channel."""
    use, entering = read_deployment(run).channel, read_recording(run / "transmitter.npz")
    bits = runners["transmitter"].run(entering.values).output.astype(np.float32)
    channel = BinaryChannel(BinaryChannelConfig(kind=use.kind, p=use.p, p_to=use.p_to))
    received = channel(torch.from_numpy(bits), torch.Generator().manual_seed(draw)).numpy()
    decoded = runners["receiver"].run(received.astype(np.uint8)).output
    scores = run_onnx(run / "receiver-host.onnx", decoded.astype(np.float32))
    return float((scores[0].argmax(1) == entering.labels).mean())


if __name__ == "__main__":
    main()
