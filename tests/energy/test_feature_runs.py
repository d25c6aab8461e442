"""What a feature system takes, counted from its run: each figure from shapes and recorded bits, by hand."""

import numpy as np
import pytest

from nsc_deploy.energy import Budget, count, estimate
from nsc_deploy.energy.report.quantity import Quantity
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.verify import open_deployment
from nsc_deploy.graphs.formats.recording import read_recording
from nsc_deploy.io.files import read_json
from nsc_deploy.models.features.codecs import BitOrder, LastNeuron
from tests.support.feature_systems import CHANNELS, IMAGE, PLACE, system, write_run

HIDDEN, BITS, SAMPLES = 4, 2, 6


def inside(height, width):
    """Pairs of an output and an input that a 3 x 3 kernel with padding 1 joins, in one map."""
    return (3 * height - 2) * (3 * width - 2)


def counted(run):
    """Multiply-accumulates and accumulates of each part, mean of a sample."""
    (found,) = estimate([run]).report.systems
    return found, {part.name: (part.counts.macs, part.counts.acs) for part in found.parts}


@pytest.mark.parametrize("steps", [2, 4])
def test_the_first_convolution_is_paid_once_and_every_bit(tmp_path, steps):
    one = system(steps=steps)
    found, parts = counted(write_run(tmp_path / "run", one, SAMPLES))
    backbone = inside(*IMAGE[1:]) * CHANNELS
    first = inside(*PLACE) * CHANNELS * HIDDEN
    assert parts["transmitter-host"][0] == backbone + first
    assert found.channel_uses == steps * BITS * PLACE[0] * PLACE[1]
    # What meets the chips are events alone: bits and spikes.
    assert parts["transmitter"][0] == parts["receiver"][0] == 0
    converter = steps * CHANNELS * PLACE[0] * PLACE[1]
    assert parts["receiver-host"][0] == converter + CHANNELS * 3


def test_a_bit_costs_the_synapses_it_meets(tmp_path):
    one = system(last=LastNeuron.IF)
    run = write_run(tmp_path / "run", one, SAMPLES)
    received = read_recording(run / "receiver.npz").values.sum(axis=(0, 1, 2)) / SAMPLES
    height, width = PLACE
    fan_out = np.array(
        [
            [
                (min(row + 2, height) - max(row - 1, 0)) * (min(column + 2, width) - max(column - 1, 0))
                for column in range(width)
            ]
            for row in range(height)
        ]
    )
    (found,) = estimate([run]).report.systems
    layers = {
        layer.name: layer for layer in next(one for one in found.parts if one.name == "receiver").layers
    }
    assert layers["conv3"].counts.acs == pytest.approx((received * fan_out).sum() * HIDDEN)


def test_grays_code_takes_differences_at_one_end_and_running_sums_at_the_other(tmp_path):
    """Bits of Gray's code are differences of those of the natural one, read back by sums modulo two."""
    counts = {}
    for order in (BitOrder.NATURAL, BitOrder.GRAY):
        run = write_run(tmp_path / order.value, system("cnn-sc", order=order), SAMPLES)
        (found,) = estimate([run]).report.systems
        counts[order] = next(part.counts for part in found.parts if part.name == "receiver")
    natural, gray = counts[BitOrder.NATURAL], counts[BitOrder.GRAY]
    values, steps = BITS * PLACE[0] * PLACE[1], 4
    assert gray.additions - natural.additions == values * (steps - 1 + steps)
    assert gray.products - natural.products == values * 2 * steps
    assert gray.activations - natural.activations == values * steps


def test_a_conventional_codec_multiplies_at_both_ends(tmp_path):
    one = system("cnn-sc")
    found, parts = counted(write_run(tmp_path / "run", one, SAMPLES))
    encoder = inside(*PLACE) * (CHANNELS * HIDDEN + HIDDEN * BITS)
    assert parts["transmitter"][0] == inside(*IMAGE[1:]) * CHANNELS + encoder
    assert parts["receiver"][0] == encoder + CHANNELS * 3
    assert found.channel_uses == one.codec.form.bits_per_inference(*PLACE)


def test_what_takes_one_step_is_all_in_its_busiest(tmp_path):
    run = write_run(tmp_path / "run", system("cnn-sc"), SAMPLES)
    whole, one = (
        {"part": "transmitter", "limits": {name: 1}} for name in ("synops_per_inference", "synops_per_step")
    )
    values = [
        finding.value
        for limits in (whole, one)
        for finding in count(run).check(Budget.model_validate(limits)).findings
    ]
    assert values[0] == values[1] > 0


def test_a_part_of_one_step_goes_to_c_with_ranges_of_training_samples(tmp_path):
    run = write_run(tmp_path / "run", system(), SAMPLES)
    (folder,) = export_all(run, "c", tmp_path / "out", part="transmitter-host")
    assert open_deployment(folder).network.conventional
    told = read_json(folder / "manifest.json")["calibration"]
    assert told["path"].endswith("transmitter-host.calibration.npz")


def test_on_a_microcontroller_parts_of_a_host_are_placed_too_and_one_that_does_not_fit_is_named(tmp_path):
    run = write_run(tmp_path / "run", system(), SAMPLES)
    counts = count(run, target="c:nrf52840")
    (found,) = counts.systems
    placed = {part.name: one for part, one in zip(found.parts, found.placed, strict=True)}
    assert placed["transmitter-host"].found.fits
    assert placed["transmitter-host"].run.firmware.memory.flash_bytes > 0
    assert not placed["receiver-host"].found.fits
    (report,) = counts.estimate().report.systems
    assert "receiver-host does not fit c:nrf52840" in report.headline[Quantity.FITS].why
    assert report.headline[Quantity.FLASH].worst is None
    assert not any(part.on_target.on_host for part in report.parts)
    # What has no form as a whole is refused by its file, and the rest is counted.
    (network,) = count(
        write_run(tmp_path / "bits", system(name="cnn-sc"), SAMPLES), target="c:nrf52840"
    ).systems
    refused = [one.node for part in network.placed for one in part.found.refused]
    assert len(refused) >= len(network.placed)
    # A chip takes none of them.
    (chip,) = count(run, target="loihi1").systems
    assert [one is None for one in chip.placed] == [True, False, False, True]
