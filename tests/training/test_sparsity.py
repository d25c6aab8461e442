from itertools import pairwise

import pytest
import torch

from nsc_deploy.channels.config import ChannelConfig
from nsc_deploy.config.speech import SystemConfig, SystemName, TrainingConfig
from nsc_deploy.models.system import System, build_system
from nsc_deploy.training.batches import stream
from nsc_deploy.training.record import EpochRecord
from nsc_deploy.training.sparsity import Synapses, cut_share

CHANNELS, CLASSES = 12, 3


def small_system(name: SystemName = SystemName.ATT_NEUROSC) -> System:
    torch.manual_seed(0)
    config = SystemConfig(name=name, hidden=8, symbols=6, gate_hidden=4, group=2)
    return build_system(config, ChannelConfig(taps=2), CHANNELS, CLASSES, "snntorch", 5)


def test_operations_are_the_events_at_each_layer_times_the_synapses_they_meet() -> None:
    system, found = small_system(SystemName.VANILLA_SNN), {}
    synapses = Synapses(system)
    synapses.cut(0.5)
    first, second = (layer for layer, _ in system.transmitter.stages[0].body.layers())  # type: ignore[union-attr]
    events = (torch.rand(5, 4, CHANNELS, generator=stream(0, "events")) < 0.4).float()
    with synapses.operations() as operations:
        second.register_forward_pre_hook(lambda _, given: found.update(hidden=given[0]))
        system(events, stream(0, "noise"))
    for layer, given, counted in ((first, events, operations[0]), (second, found["hidden"], operations[1])):
        one_by_one = sum(
            int((layer.weight[:, place] != 0).sum())
            for sample in given.transpose(0, 1)
            for step in sample
            for place in step.nonzero().flatten().tolist()
        )
        assert float(counted.detach()) == pytest.approx(one_by_one / 4)
    assert operations[1].requires_grad  # the spikes in between can be made fewer
    assert len(operations) == 3  # the receiver's dense layer on real values is no layer of spikes


def test_gate_and_receiver_are_counted_too() -> None:
    system = small_system()
    with Synapses(system).operations() as operations:
        system(torch.ones(5, 2, CHANNELS), stream(0, "noise"))
    assert len(operations) == 8  # at each end: right path, gate, and two dense layers


def test_the_weakest_synapses_are_cut_and_stay_away() -> None:
    system = small_system()
    synapses = Synapses(system)
    layers = [layer for layer in system.modules() if isinstance(layer, torch.nn.Linear)]
    before = [layer.weight.detach().clone() for layer in layers]
    for share in (0.25, 0.75):
        synapses.cut(share)
        gone = [layer.weight == 0 for layer in layers]
        for layer, weight, cut in zip(layers, before, gone, strict=True):
            assert int(cut.sum()) == int(share * weight.numel())
            assert weight[cut].abs().max() <= weight[~cut].abs().min()
            with torch.no_grad():
                layer.weight += 1  # what a step of the optimiser may do
        synapses.hold()
        for layer, weight, cut in zip(layers, before, gone, strict=True):
            assert torch.equal(layer.weight == 0, cut)
            with torch.no_grad():
                layer.weight.copy_(torch.where(cut, 0, weight))


def test_most_synapses_go_early_and_all_in_time() -> None:
    config = TrainingConfig(epochs=10, sparsity=0.8, cut_until=0.5)
    shares = [cut_share(config, epoch) for epoch in range(10)]
    assert shares[0] == pytest.approx(0.8 * (1 - 0.8**3))
    assert shares[4:] == [0.8] * 6
    steps = [later - earlier for earlier, later in pairwise(shares)]
    assert steps[:4] == sorted(steps[:4], reverse=True)
    assert cut_share(config.model_copy(update={"cut_until": 0.0}), 0) == 0.8


def test_an_epoch_with_synapses_that_are_to_go_is_never_the_best() -> None:
    def epoch(cut: float, accuracy: float) -> EpochRecord:
        return EpochRecord(
            epoch=0,
            train_loss=0,
            train_accuracy=1,
            train_sparsity=cut,
            validation_loss=0,
            validation_accuracy=accuracy,
        )

    assert epoch(0.8, 0.9).rank > epoch(0.7, 1.0).rank
    assert epoch(0.8, 0.91).rank > epoch(0.8, 0.9).rank
