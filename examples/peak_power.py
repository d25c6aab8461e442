"""How far a transmitter's strongest symbol stands above the mean power that the SNR is defined on.

    python examples/peak_power.py runs/fsdd/event_-10dB_0 runs/fsdd/lstm_-10dB_0

Prints for each run the ratio of the largest to the mean |x|^2 over the symbols of an utterance in dB, as
the median over the test set. A real amplifier has to deliver that peak; the channel here does not ask.
"""

import argparse
from pathlib import Path

import torch

from nsc_deploy.config.speech import SpeechExperiment
from nsc_deploy.data import load_events
from nsc_deploy.training.batches import Samples, to_signal
from nsc_deploy.training.run_directory import read_experiment_of
from nsc_deploy.training.start import load_system


@torch.no_grad()
def peak_to_mean(run: Path) -> float:
    """Median over the test set of the peak-to-mean power of an utterance in dB; silent ones left out."""
    experiment = read_experiment_of(SpeechExperiment, run)
    data = load_events(experiment.data)
    transmitter, ratios = load_system(run, data).transmitter, []
    for events, _ in Samples(data.test).in_order():
        power = transmitter(to_signal(events)).square().transpose(0, 1).flatten(1)
        ratios.append(power.amax(1) / power.mean(1))
    ratio = torch.cat(ratios)
    return float(10 * ratio[ratio.isfinite()].median().log10())


def main() -> None:
    """Print a line for each run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    for run in parser.parse_args().runs:
        print(f"{run.name}: {peak_to_mean(run):.1f} dB")


if __name__ == "__main__":
    main()
