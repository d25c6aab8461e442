"""A system: transmitter, link and receiver, trained together; its weights rounded as a chip holds them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nsc_deploy.channels.config import ChannelConfig
from nsc_deploy.channels.integers import IntegerLink
from nsc_deploy.channels.modulation import Link, Modulation, straight_through
from nsc_deploy.channels.separate import CodedLink
from nsc_deploy.config.speech import MOST_BITS, Coding, ReceiverKind, SystemConfig, SystemName
from nsc_deploy.deployment import Readout
from nsc_deploy.errors import ConfigError
from nsc_deploy.graphs.dyadic import on_row_grids
from nsc_deploy.graphs.network import Signal
from nsc_deploy.models.conventional import HostDense, Perceptron, Recurrent
from nsc_deploy.models.cross_attention import SpikeCrossAttention
from nsc_deploy.models.event import EventLayers, FrontEnd
from nsc_deploy.models.frameworks import FrameworkName
from nsc_deploy.models.neurons import Leaky
from nsc_deploy.models.quantised import EventCounts, QuantisedLayers
from nsc_deploy.models.quantised_encoders import QuantisedConvolutions, QuantisedGru
from nsc_deploy.models.spiking import DenseLayers, NeuronForm, SpikingBehindCurrent, SpikingLayers
from nsc_deploy.models.stage import Rows, Side, Stage

SPARSE_GAIN = 3.0
"""Gain of the initial weights that meet received events, of which a few in a hundred are active."""
EVENT_GAIN = 3.0
"""Gain of the initial weights of the analog attention on events, a tenth of them active."""
AMPLITUDE_GAIN = 6.0
"""The same on received amplitudes, about 0.2 in size: the neurons behind fire in a step in twenty."""
ENCODER_LAYERS = 2
"""LSTM layers of the transmitter (the receiver has one)."""


class SystemOutput(NamedTuple):
    """What a system does with a batch.

    Attributes:
        votes: mean of each class's outputs [T, B, classes].
        symbols: what was sent [T, B, S]; 0 or 1 for spiking systems.
        received: what arrived [T, B, R].
        outputs: of the receiver [T, B, classes * group].
    """

    votes: Tensor
    symbols: Tensor
    received: Tensor
    outputs: Tensor


class System(nn.Module):
    """Events [T, B, C] through transmitter, link and receiver to votes.

    Args:
        transmitter: events to S values a step.
        link: S values to R received ones.
        receiver: received values to classes * group outputs.
        readout: how outputs become a decision.
        vote: what the mean over a group is multiplied by.
    """

    def __init__(
        self, transmitter: Side, link: Link, receiver: Side, readout: Readout, vote: float = 1.0
    ) -> None:
        super().__init__()
        self.vote = vote
        self.transmitter = transmitter
        self.link = link
        self.receiver = receiver
        self.readout = readout

    @property
    def spiking(self) -> bool:
        """Whether the symbols on the air are spikes."""
        return self.link.modulation is Modulation.SPIKES

    def forward(self, events: Tensor, generator: torch.Generator) -> SystemOutput:
        """Votes and what led to them; the generator draws fading and noise."""
        symbols = self.transmitter(events)
        received = self.link(symbols, generator)
        outputs = self.receiver(received)
        return SystemOutput(self.votes(outputs), symbols, received, outputs)

    def votes(self, outputs: Tensor) -> Tensor:
        """Mean over each class's group [T, B, classes] of outputs [T, B, classes * group]."""
        steps, samples = outputs.shape[:2]
        return outputs.reshape(steps, samples, self.readout.classes, self.readout.group).mean(-1) * self.vote

    @contextmanager
    def at_snr(self, snr_db: float, snr_to_db: float | None = None) -> Iterator[None]:
        """Put the link at another SNR, or at a range of them, for a while."""
        channel = self.link.channel
        before = channel.config
        channel.config = before.model_copy(update={"snr_db": snr_db, "snr_to_db": snr_to_db})
        try:
            yield
        finally:
            channel.config = before

    def finish(self) -> None:
        """Put the weights that meet events on their dyadic grids; called once, when training has ended."""
        self.transmitter.finish()
        self.receiver.finish()


def build_system(
    config: SystemConfig,
    channel: ChannelConfig,
    channels: int,
    classes: int,
    framework: FrameworkName,
    steps: int,
) -> System:
    """An untrained system.

    Args:
        config: which system, and its sizes.
        channel: of the link.
        channels: event channels of a sample.
        classes: of the task.
        framework: that runs the spiking neurons.
        steps: of a sample.
    """
    readout = Readout(classes=classes, group=config.group)
    link = link_of(config, channel)
    plan = _Plan(config, channels, link.output_size(config.symbols), classes * config.group, framework, steps)
    transmitter, receiver = _BUILDERS[config.name](plan)
    # An output that fires once has a mean over time of 1 / steps.
    vote = float(steps) if config.coding is Coding.TTFS else 1.0
    return System(transmitter, link, receiver, readout, vote)


def link_of(config: SystemConfig, channel: ChannelConfig) -> Link:
    """What carries the symbols of a system."""
    if config.name is SystemName.SSCC:
        return CodedLink(channel, config.symbols)
    if config.activation_bits is not None:
        return IntegerLink(channel, config.activation_bits)
    return Link(channel, Modulation.SPIKES if config.name.spiking else Modulation(config.transmission.value))


class _Plan(NamedTuple):
    config: SystemConfig
    channels: int
    received: int
    outputs: int
    framework: FrameworkName
    steps: int

    @property
    def form(self) -> NeuronForm:
        once_in = self.steps if self.config.coding is Coding.TTFS else None
        return NeuronForm(self.config.decay_steps, self.config.threshold, self.framework, once_in)

    @property
    def gate_form(self) -> NeuronForm:
        return NeuronForm(self.config.gate_decay_steps, self.config.gate_threshold, self.framework)

    @property
    def event_gate_form(self) -> NeuronForm:
        return NeuronForm(self.config.gate_decay_steps, self.config.threshold, self.framework)

    @property
    def bits(self) -> int:
        return self.config.activation_bits or MOST_BITS

    @property
    def transmitter_sizes(self) -> tuple[int, int, int]:
        return self.channels, self.config.hidden, self.config.symbols


def _att_neurosc(plan: _Plan) -> tuple[Side, Side]:
    return _event(plan) if plan.config.receiver is ReceiverKind.EVENT else _analog(plan)


def _event(plan: _Plan) -> tuple[Side, Side]:
    front_end = FrontEnd(plan.received // 2, plan.config.front_end_level, plan.config.front_end_levels)
    receiver = _event_layers(plan, (front_end.lines, plan.config.hidden, plan.outputs), SPARSE_GAIN)
    return Side([_event_layers(plan, plan.transmitter_sizes, 1.0)]), Side([front_end, receiver])


def _event_layers(plan: _Plan, sizes: tuple[int, int, int], gain: float) -> Stage:
    hidden, delays = plan.config.gate_hidden, plan.config.delays
    if not hidden:
        return SpikingLayers(sizes, plan.form, gain=gain, delays=delays)
    return EventLayers(sizes, plan.form, plan.event_gate_form, hidden, gain=gain, delays=delays)


def _sscc(plan: _Plan) -> tuple[Side, Side]:
    return Side([]), Side([_event_layers(plan, (plan.channels, plan.config.hidden, plan.outputs), 1.0)])


def _analog(plan: _Plan) -> tuple[Side, Side]:
    def attended(sizes: tuple[int, int, int], takes: Signal) -> Side:
        gain = EVENT_GAIN if takes is Signal.EVENTS else AMPLITUDE_GAIN
        attention = SpikeCrossAttention(sizes[0], plan.gate_form, takes, gain=gain)
        body = DenseLayers(sizes, plan.form)
        return Side([attention, SpikingBehindCurrent(plan.gate_form.layer(sizes[0]), body)])

    receiver_sizes = plan.received, plan.config.hidden, plan.outputs
    return attended(plan.transmitter_sizes, Signal.EVENTS), attended(receiver_sizes, Signal.REAL)


def _vanilla(plan: _Plan) -> tuple[Side, Side]:
    hidden = plan.config.hidden
    first = plan.form.layer(hidden)
    body = DenseLayers((hidden, plan.outputs), plan.form)
    receiver = Side([HostDense(plan.received, hidden), SpikingBehindCurrent(first, body)])
    return Side([SpikingLayers(plan.transmitter_sizes, plan.form)]), receiver


def _fc(plan: _Plan) -> tuple[Side, Side]:
    sizes = plan.received, plan.config.hidden, plan.outputs
    transmitter = Perceptron(plan.transmitter_sizes, Signal.EVENTS, relu_last=True)
    return Side([transmitter]), Side([Perceptron(sizes, Signal.REAL, relu_last=False)])


def _lstm(plan: _Plan) -> tuple[Side, Side]:
    config = plan.config
    transmitter = Recurrent(
        plan.channels, config.symbols, ENCODER_LAYERS, Signal.EVENTS, dropout=config.dropout
    )
    receiver = Recurrent(plan.received, config.hidden, 1, Signal.REAL, outputs=plan.outputs)
    return Side([transmitter]), Side([receiver])


def _qnn(plan: _Plan) -> tuple[Side, Side]:
    layers = QuantisedLayers(plan.transmitter_sizes, plan.bits)
    return Side([EventCounts(plan.channels), layers]), _quantised_receiver(plan)


def _gru(plan: _Plan) -> tuple[Side, Side]:
    return Side([QuantisedGru(plan.channels, plan.config.symbols, plan.bits)]), _quantised_receiver(plan)


def _ds_cnn(plan: _Plan) -> tuple[Side, Side]:
    config = plan.config
    encoder = QuantisedConvolutions(plan.channels, config.hidden, config.symbols, plan.bits)
    return Side([encoder]), _quantised_receiver(plan)


def _quantised_receiver(plan: _Plan) -> Side:
    sizes = plan.received, plan.config.hidden, plan.outputs
    return Side([QuantisedLayers(sizes, plan.bits, values_last=True)])


_BUILDERS: dict[SystemName, Callable[[_Plan], tuple[Side, Side]]] = {
    SystemName.ATT_NEUROSC: _att_neurosc,
    SystemName.VANILLA_SNN: _vanilla,
    SystemName.FC: _fc,
    SystemName.LSTM: _lstm,
    SystemName.QNN: _qnn,
    SystemName.GRU: _gru,
    SystemName.DS_CNN: _ds_cnn,
    SystemName.SSCC: _sscc,
}


DECAY_UNITY = 4096
"""A decay is a whole multiple of 1 / this."""


def rounded_parameters(system: System, bits: int) -> dict[str, Tensor]:
    """The chip's weights by parameter name, for `torch.func.functional_call`: training with rounded weights.

    The stages that an export can put on a chip compute with weights on the grids of `dyadic.row_grid` and
    with decays of 12 bits. The gradient of each weight goes to the parameter behind it, unchanged: the
    optimiser changes that one, as if nothing had been rounded.
    """
    names = {parameter: name for name, parameter in system.named_parameters()}
    return {
        names[parameter]: straight_through(parameter, value) for parameter, value in _rounded(system, bits)
    }


@torch.no_grad()
def round_weights(system: System, bits: int) -> None:
    """Put the weights on their grids for good."""
    for parameter, value in list(_rounded(system, bits)):
        parameter.copy_(value)


@torch.no_grad()
def round_decays(system: System) -> None:
    """Put the decays on multiples of 1/4096.

    Raises:
        ConfigError: neurons leak so little that nothing would be left of it.
    """
    for stage in _chip_stages(system):
        for neurons in stage.modules():
            if isinstance(neurons, Leaky):
                leak = torch.round((1 - neurons.beta.double()) * DECAY_UNITY)
                if bool((leak == 0).any()):
                    raise ConfigError(
                        f"leak less than 1/{2 * DECAY_UNITY} of their potential a step: rounded, nothing",
                        where="the neurons",
                        hint="Choose a smaller system.decay_steps (and gate_decay_steps).",
                    )
                neurons.beta.copy_((1 - leak / DECAY_UNITY).float())


def _chip_stages(system: System) -> Iterator[Stage]:
    for side in (system.transmitter, system.receiver):
        yield from (stage for stage in side.stages if stage.rows())


def _rounded(system: System, bits: int) -> Iterator[tuple[nn.Parameter, Tensor]]:
    for stage in _chip_stages(system):
        for rows in stage.rows():
            yield from _rounded_rows(rows, bits)


def _rounded_rows(rows: Rows, bits: int) -> Iterator[tuple[nn.Parameter, Tensor]]:
    parts = [one.detach().reshape(len(one), -1) for one in rows.weights]
    bias = None if rows.bias is None else rows.bias.detach().numpy()
    rounded = torch.from_numpy(on_row_grids(torch.cat(parts, 1).numpy(), bits, bias))
    widths = [part.shape[1] for part in parts]
    for parameter, part in zip(rows.weights, torch.split(rounded, widths, 1), strict=True):
        yield parameter, part.reshape(parameter.shape)
