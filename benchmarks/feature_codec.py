"""A training step of SNN-SC on features: the product against a plain PyTorch loop and SpikingJelly.

VGG16's features of the paper, 512 x 2 x 2, batch 128, T = 8, one thread; a step is forward (BSC, p = 0.15),
loss, backward and Adam. The first convolution is computed once in all of them. SpikingJelly, in its
multi-step mode, takes part where it is installed (the extra `peers`).
"""

import time
from collections.abc import Callable
from importlib.util import find_spec

import torch
from interleaved import Comparison, best_times, parser, report
from torch import Tensor, nn

from nsc_deploy.channels.binary import BinaryChannel
from nsc_deploy.channels.config import BinaryChannelConfig
from nsc_deploy.models.features.codecs import CodecForm, CodecName, build_codec, entropy_penalty
from nsc_deploy.models.features.neurons import SigmoidSpike
from nsc_deploy.models.features.spiking_codec import SpikingCodec

CHANNELS, PLACE, BATCH, STEPS, CLASSES = 512, 2, 128, 8, 100
GOAL = 3.0
SLOPE = 4.0


def blocks(codec: SpikingCodec) -> nn.ModuleList:
    """Convolution and normalisation of each layer as torch has them, with the codec's weights."""
    made = nn.ModuleList()
    for layer in (codec.conv1, codec.conv2, codec.conv3, codec.conv4):
        weight = layer.convolution.weight
        convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, bias=False)
        norm = nn.BatchNorm2d(weight.shape[0])
        convolution.load_state_dict(layer.convolution.state_dict())
        norm.load_state_dict(layer.norm.state_dict())
        made.append(nn.Sequential(convolution, norm))
    return made


class _PlainLoop(nn.Module):
    """Step by step through every layer; all outputs stacked for one dense layer."""

    def __init__(self, codec: SpikingCodec) -> None:
        super().__init__()
        self.blocks = blocks(codec)
        self.converter = nn.Linear(2 * STEPS, 1)
        self.converter.load_state_dict({"weight": codec.converter.weight, "bias": codec.converter.bias})

    def forward(
        self, features: Tensor, channel: BinaryChannel, noise: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        current, v, bits = self.blocks[0](features), [0.0] * 4, []
        for _ in range(STEPS):
            spikes, v[0] = fire(v[0] + current)
            spikes, v[1] = fire(v[1] + self.blocks[1](spikes))
            bits.append(spikes)
        sent, outputs = torch.stack(bits), []
        for step in channel(sent, noise):
            spikes, v[2] = fire(v[2] + self.blocks[2](step))
            spikes, v[3] = fire(v[3] + self.blocks[3](spikes))
            outputs += [spikes, v[3]]
        return torch.sigmoid(self.converter(torch.stack(outputs, -1))).squeeze(-1), sent


def fire(charged: Tensor) -> tuple[Tensor, Tensor]:
    spikes = SigmoidSpike.apply(charged - 1, SLOPE)
    return spikes, charged - spikes


def spikingjelly(codec: SpikingCodec) -> nn.Module:
    """The same network of SpikingJelly's layers in multi-step mode."""
    from spikingjelly.activation_based import layer, neuron, surrogate

    class _Multistep(_PlainLoop):
        def __init__(self) -> None:
            super().__init__(codec)
            self.over_time = nn.ModuleList(layer.SeqToANNContainer(*block) for block in self.blocks)
            self.neurons = nn.ModuleList(
                neuron.IFNode(
                    1.0, None, surrogate.Sigmoid(alpha=SLOPE), step_mode="m", store_v_seq=index == 3
                )
                for index in range(4)
            )

        def forward(
            self, features: Tensor, channel: BinaryChannel, noise: torch.Generator
        ) -> tuple[Tensor, Tensor]:
            for one in self.neurons:
                one.reset()
            current = self.blocks[0](features)
            spikes = self.neurons[0](current.unsqueeze(0).repeat(STEPS, 1, 1, 1, 1))
            sent = self.neurons[1](self.over_time[1](spikes))
            spikes = self.neurons[2](self.over_time[2](channel(sent, noise)))
            spikes = self.neurons[3](self.over_time[3](spikes))
            outputs = torch.stack([spikes, self.neurons[3].v_seq], -1).movedim(0, -2).flatten(-2)
            return torch.sigmoid(self.converter(outputs)).squeeze(-1), sent

    return _Multistep()


class _Product(nn.Module):
    def __init__(self, codec: SpikingCodec) -> None:
        super().__init__()
        self.codec = codec

    def forward(
        self, features: Tensor, channel: BinaryChannel, noise: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        coded = self.codec(features, channel, noise)
        return coded.features, coded.bits


def training_step(network: nn.Module, features: Tensor, labels: Tensor, server: Tensor) -> Callable[[], None]:
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)
    channel, noise = BinaryChannel(BinaryChannelConfig(p=0.15)), torch.Generator().manual_seed(0)

    def step() -> None:
        optimiser.zero_grad()
        back, bits = network(features, channel, noise)
        loss = nn.functional.cross_entropy(back.flatten(1) @ server, labels) + entropy_penalty(bits, 1.0)
        loss.backward()
        optimiser.step()

    return step


def assert_same(networks: dict[str, nn.Module], features: Tensor) -> None:
    """Bits and features are those of the plain loop, with the statistics of normalisation held still."""
    clean, results = BinaryChannel(BinaryChannelConfig(p=0.0)), {}
    with torch.no_grad():
        for name, network in networks.items():
            results[name] = network.eval()(features, clean, torch.Generator().manual_seed(0))
            network.train()
    expected, bits = results["PyTorch loop"]
    assert 0.05 < bits.mean() < 0.95, "a network without spikes proves nothing"
    for name, (back, sent) in results.items():
        # A sum that rounds otherwise may decide a bit in a few thousands.
        assert (sent != bits).float().mean() < 1e-3, name
        assert (back - expected).abs().median() < 1e-5, name


def main() -> None:
    options = parser(__doc__, rounds=8).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    codec = build_codec(CodecForm(CodecName.SNN_SC, CHANNELS, steps=STEPS))
    assert isinstance(codec, SpikingCodec)
    features = torch.relu(torch.randn(BATCH, CHANNELS, PLACE, PLACE))
    for layer in (codec.conv1, codec.conv2, codec.conv3, codec.conv4):
        layer.norm.momentum = 0.5
    for _ in range(5):
        codec(features, BinaryChannel(BinaryChannelConfig(p=0.15)), torch.Generator().manual_seed(1))
    networks: dict[str, nn.Module] = {"PyTorch loop": _PlainLoop(codec)}
    if find_spec("spikingjelly") is not None:
        networks["SpikingJelly"] = spikingjelly(codec)
    networks["nsc-deploy"] = _Product(codec)
    assert_same(networks, features)
    labels, server = torch.arange(BATCH) % CLASSES, torch.randn(CHANNELS * PLACE**2, CLASSES) / 45
    candidates = {name: training_step(one, features, labels, server) for name, one in networks.items()}
    times = best_times(candidates, options.rounds, time.process_time)
    ratio = min(time for name, time in times.items() if name != "nsc-deploy") / times["nsc-deploy"]
    goal = f"at least {GOAL:g}"
    name = (
        f"training step of SNN-SC, {CHANNELS} x {PLACE} x {PLACE}, batch {BATCH}, T = {STEPS}, processor time"
    )
    report(Comparison(name, times, ratio, goal, ratio >= GOAL), as_json=options.json)


if __name__ == "__main__":
    main()
