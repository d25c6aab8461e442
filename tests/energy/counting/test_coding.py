"""Separate coding on hosts, counted by doing it step by step."""

import numpy as np
import pytest

from nsc_deploy.channels.coding.convolutional import MEMORY, STATES, encode
from nsc_deploy.deployment import Place, SeparateCoding, Side
from nsc_deploy.energy.counting.coding import count_coding


def viterbi_by_hand(coded):
    """The hard decoder as its definition has it; counts additions and comparisons of path costs."""
    counts = {"additions": 0, "comparisons": 0}
    before = [0] + [10**6] * (STATES - 1)
    for step in range(len(coded) // 3):
        received = coded[3 * step : 3 * step + 3]
        after = []
        for state in range(STATES):
            costs = []
            for left in range(2):
                register = state << 1 | left
                outputs = [bin(register & generator).count("1") % 2 for generator in (0o133, 0o171, 0o165)]
                wrong = sum(int(a != b) for a, b in zip(outputs, received, strict=True))
                costs.append(before[(state << 1 & STATES - 1) | left] + wrong)
                counts["additions"] += 1
            after.append(min(costs))
            counts["comparisons"] += 1
        before = after
    assert before[0] == 0  # nothing was wrong
    return counts


@pytest.mark.parametrize("source", ["deflate", "jpeg"])
def test_the_decoder_adds_twice_and_compares_once_for_each_state_and_step(source):
    lengths = (5, 17)
    counted = count_coding(SeparateCoding(source=source, message_bits=lengths), Side.RECEIVER, 2, 0.001)
    layer = counted.layers[0]
    for sample, length in enumerate(lengths):
        by_hand = viterbi_by_hand(encode(np.arange(length, dtype=np.uint8) % 2))
        assert layer.per_sample.additions[sample] == by_hand["additions"] == 128 * (length + MEMORY)
        assert layer.per_sample.activations[sample] == by_hand["comparisons"] == 64 * (length + MEMORY)


def test_jpeg_transforms_its_blocks_at_both_ends():
    coding = SeparateCoding(source="jpeg", message_bits=(100, 100, 100), blocks=3)
    sender, receiver = (count_coding(coding, side, 2, 0.001) for side in Side)
    assert (sender.name, sender.place, sender.samples) == ("transmitter-coding", Place.HOST, 2)
    for layer in (sender.layers[0], receiver.layers[1]):
        # 16 transforms of 8 points with 11 multiplications and 29 additions, 64 quantisers.
        assert layer.per_sample.products.tolist() == [3 * (16 * 11 + 64)] * 2
        assert layer.per_sample.additions.tolist() == [3 * 16 * 29] * 2
    assert not sender.per_sample.activations.any()
