"""What the exporter of each framework gets wrong, put right, and what can be said of its models.

Every mend is counted in the step that the framework counts in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import ConfigError, GraphError
from nsc_deploy.graphs.formats.writers.draft import (
    FIRING,
    Draft,
    at_threshold,
    decay_of,
    from_start,
    membrane_of,
    put_behind,
)
from nsc_deploy.graphs.formats.writers.recognise import SHORTEST_S, SNNTORCH_DT, all_close, lambert
from nsc_deploy.graphs.formats.writers.statement import Arguments, Maker
from nsc_deploy.graphs.network import Reset

SPIKINGJELLY_DT = 1e-4
NORSE_DT = 1e-3
"""The default steps of the exporters."""


# snnTorch


def _snntorch(draft: Draft) -> tuple[float, Reset]:
    reset = draft.reset_by("reset_mechanism", {one.value: one for one in Reset}, Reset.SUBTRACT)
    draft.only("inhibition", "False", "False", "one neuron of a layer alone fires in a step")
    cells = draft.of(nir.LIF, nir.CubaLIF)
    if not all(_has_unit_gain(node) for node in cells.values()):
        raise GraphError(
            "has gains that are not snnTorch's r = tau / 1e-4",
            hint="Name the framework that wrote it with --from.",
        )
    _move_recurrent_bias(draft)
    simple, recurrent = all(isinstance(node, nir.LIF) for node in cells.values()), _recurrent(draft)
    for name, node in cells.items():
        factor = draft.statement.number("graded_spikes_factor", name)
        if factor not in {None, 1.0}:
            put_behind(draft, name, f"{name}_graded", nir.Scale(np.full(np.shape(node.r), factor)))
    late = draft.statement.flag("reset_delay", default=reset is Reset.SUBTRACT)
    if reset is Reset.ZERO and (recurrent or not simple):
        # In a Leaky alone a late reset to zero is one at once: nothing else is added before it.
        why = "a Synaptic or recurrent neuron resets one step late"
        draft.only("reset_delay", "False", "True", why)
    elif late and not simple:
        raise draft.refuse(f"resets one step late ({reset}) in a Synaptic neuron")
    elif late and reset is Reset.SUBTRACT:
        _subtract_late(draft)
    elif reset is Reset.SUBTRACT:
        draft.assumed.append("no potential reaches twice its threshold, where snnTorch subtracts it twice")
    return SNNTORCH_DT, reset


def _has_unit_gain(node: Any) -> bool:
    """Whether a neuron adds its whole input in snnTorch's nominal step, its current too."""
    pairs = [(node.r, membrane_of(node))]
    pairs += [(node.w_in, node.tau_syn)] if isinstance(node, nir.CubaLIF) else []
    return all(all_close(gain * SNNTORCH_DT, tau, 1e-5) for gain, tau in pairs)


def _recurrent(draft: Draft) -> bool:
    return any((b, a) in draft.edges for a, b in draft.edges)


def _subtract_late(draft: Draft) -> None:
    """A late subtraction is one at once, and what has leaked off the threshold taken off a step later."""
    for name, node in draft.of(nir.LIF).items():
        echo = f"{name}_late"
        draft.nodes[echo] = nir.Scale(-node.v_threshold / node.r)
        draft.edges += [(name, echo), (echo, name)]


def _move_recurrent_bias(draft: Draft) -> None:
    """A recurrence adds its bias from the first step on: it belongs to the layer in front."""
    for name, node in draft.of(nir.Affine).items():
        cells = [a for a, b in draft.edges if b == name and (name, a) in draft.edges]
        for cell in cells if np.any(node.bias) else []:
            front = [a for a, b in draft.edges if b == cell and a != name]
            # A layer that others read too would hand the bias on to them.
            alone = [a for a in front if [end for start, end in draft.edges if start == a] == [cell]]
            dense = [a for a in alone if isinstance(draft.nodes[a], nir.Affine | nir.Linear)]
            if not dense:
                raise GraphError(
                    "has a bias in its recurrence and no dense layer of its own in front that could take it",
                    where=f"node '{name}'",
                    hint="Set the recurrent bias to 0 and train on.",
                )
            before = draft.nodes[dense[0]]
            bias = np.asarray(node.bias, np.float32)
            if isinstance(before, nir.Affine):
                bias = np.asarray(before.bias, np.float32) + bias
            draft.nodes[dense[0]] = nir.Affine(before.weight, bias)
            draft.nodes[name] = nir.Linear(node.weight)


# Norse


def _norse(draft: Draft) -> tuple[float, Reset]:
    dt = draft.statement.dt
    if dt is None:
        raise ConfigError(
            "Norse's files do not tell the step", where="--dt", hint="Name that of the model: --dt 1e-3"
        )
    leaky = draft.of(nir.LIF, nir.CubaLIF, nir.LI)
    longest = max((float(np.max(membrane_of(node))) for node in leaky.values()), default=0.0)
    if longest >= SHORTEST_S:
        raise GraphError(
            f"has time constants of {longest:g} s, and Norse's exporter writes a thousandth of them",
            hint="They are right as they are: read the file with --dt and --reset.",
        )
    written = draft.statement.number("dt")
    if written is not None and written <= 0:
        raise ConfigError(f"dt={written:g} is no number of seconds above 0", where="--set")
    if written is None and dt != NORSE_DT:
        draft.assumed.append(f"to_nir(dt={dt:g}) (its default is {NORSE_DT:g}, whatever step the model has)")
    written = written or dt
    words = {"reset_value": Reset.ZERO, "reset_subtract": Reset.SUBTRACT}
    reset = draft.reset_by("reset_method", words, Reset.ZERO)
    for name, node in leaky.items():
        _require_start(name, node, reset)
        for tau in ("tau", "tau_mem", "tau_syn"):
            if hasattr(node, tau):
                setattr(node, tau, getattr(node, tau) / written)
        if isinstance(node, nir.CubaLIF):
            node.w_in = node.tau_syn / dt
        if isinstance(node, nir.LIF | nir.CubaLIF):
            node.v_reset = node.v_reset + (draft.statement.number("v_reset", name) or 0.0)
            from_start(node, node.v_leak.copy())
    for name, node in draft.of(nir.IF).items():
        node.r = node.r / dt
        node.v_reset = node.v_reset + (draft.statement.number("v_reset", name) or 0.0)
    return dt, reset


def _require_start(name: str, node: Any, reset: Reset) -> None:
    """Refuse what counting potentials from v_leak, where they start, would change."""
    if not np.any(node.v_leak):
        return
    if isinstance(node, nir.LI):
        raise GraphError(
            "gives out a potential that starts at a v_leak other than 0, which no integrator of NIR does",
            where=f"node '{name}'",
            hint="Train with v_leak 0.",
        )
    if reset is Reset.SUBTRACT:
        raise GraphError(
            "starts at a v_leak other than 0 and takes its whole threshold off after a spike, which no "
            "neuron of NIR does",
            where=f"node '{name}'",
            hint="Train with v_leak 0, or with reset_value.",
        )


# SpikingJelly


def _spikingjelly(draft: Draft) -> tuple[float, Reset]:
    if draft.statement.reset is Reset.SUBTRACT:
        raise ConfigError("SpikingJelly's exporter refuses every reset but zero", where="--reset")
    for node in draft.of(*FIRING).values():
        from_start(node, node.v_reset.copy())
        at_threshold(node)
    # IF and CubaLIF tell the step they were written for; LIF count in it whatever it is.
    rates = [node.r for node in draft.of(nir.IF).values()]
    rates += [node.r / node.tau_mem for node in draft.of(nir.CubaLIF).values()]
    told = None if not rates else float(f"{1 / float(np.ravel(rates[0])[0]):.5g}")
    if told is None and draft.statement.dt is None:
        draft.assumed.append(
            f"dt={SPIKINGJELLY_DT:g} (the default of its export: LIF nodes do not tell their step)"
        )
    dt = told or draft.statement.dt or SPIKINGJELLY_DT
    if told is None and draft.statement.dt not in {None, SPIKINGJELLY_DT}:
        draft.assumed.append(
            f"export_to_nir(dt={dt:g}) (LIF nodes do not tell their step: a real one that is another is "
            "--step-seconds)"
        )
    return dt, Reset.ZERO


# sinabs


def _sinabs(draft: Draft) -> tuple[float, Reset]:
    draft.only("spike_fn", "SingleSpike", "MultiSpike", "it fires several times a step")
    draft.only("min_v_mem", "None", "None or, after from_model, -1", "it holds potentials up")
    words = {"MembraneSubtract": Reset.SUBTRACT, "MembraneReset": Reset.ZERO}
    reset = draft.reset_by("reset_fn", words, Reset.SUBTRACT)
    draft.only("subtract_value", "None", "None", "a spike takes something else off than the threshold")
    for name, node in draft.of(nir.LIF, nir.LI).items():
        # ExpLeak has another default than LIF.
        norm = draft.statement.flag("norm_input", name, default=isinstance(node, nir.LIF))
        tau_syn = draft.statement.number("tau_syn", name)
        decay = decay_of(1 / node.tau)
        node.tau, node.r = 1 / (1 - decay), np.ones_like(decay) if norm else 1 / (1 - decay)
        if tau_syn is not None:
            draft.nodes[name] = _with_synapse(node, tau_syn)
    for node in draft.of(*FIRING).values():
        at_threshold(node)
    return 1.0, reset


def _with_synapse(node: Any, tau_syn: float) -> Any:
    if tau_syn <= 0:
        raise ConfigError(f"tau_syn={tau_syn:g} is no time constant above 0", where="--set")
    decay = decay_of(np.full_like(node.tau, 1 / tau_syn))
    shared = {"r": node.r, "v_leak": node.v_leak, "tau_mem": node.tau}
    synapse = {"tau_syn": 1 / (1 - decay), "w_in": decay / (1 - decay)}
    if isinstance(node, nir.LI):
        return nir.CubaLI(**shared, **synapse)
    return nir.CubaLIF(**shared, **synapse, v_threshold=node.v_threshold, v_reset=node.v_reset)


# Rockpool


def _rockpool(draft: Draft) -> tuple[float, Reset]:
    draft.only("max_spikes_per_dt", "1", "65536", "it fires several times a step")
    draft.only("has_rec", "False", "False", "its exporter drops the recurrence")
    draft.only("noise_std", "0", "0", "its exporter drops the noise")
    if draft.statement.reset is Reset.ZERO:
        raise ConfigError("Rockpool's neurons reset by subtraction alone", where="--reset")
    told = [
        float(np.ravel(dt)[0]) for dt in map(_rockpool_step, draft.of(nir.LIF, nir.CubaLIF, nir.LI).values())
    ]
    dt = draft.statement.dt
    if not told or any(abs(one / told[0] - 1) > 1e-4 for one in told):
        raise GraphError(
            "has gains that are not Rockpool's tau exp(-dt / tau) / dt for one dt",
            hint="Name the framework that wrote it with --from.",
        )
    if dt is not None and abs(told[0] / dt - 1) > 1e-4:
        raise ConfigError(
            f"the gains tell a step of {told[0]:.5g} s", where="--dt", hint="Leave it out, or give that."
        )
    step = float(f"{told[0]:.5g}") if dt is None else dt
    for name, node in draft.of(nir.LIF, nir.CubaLIF, nir.LI).items():
        decay, bias = decay_of(step / membrane_of(node)), draft.statement.number("bias", name) or 0.0
        node.r, node.v_leak = 1 / (1 - decay), node.v_leak + bias / (1 - decay)
        if isinstance(node, nir.CubaLIF):
            node.tau_mem, synapse = step / (1 - decay), decay_of(step / node.tau_syn)
            node.tau_syn, node.w_in = step / (1 - synapse), synapse / (1 - synapse)
        else:
            node.tau = step / (1 - decay)
        if isinstance(node, nir.LI):
            node.r = decay / (1 - decay)
        else:
            at_threshold(node)
    return step, Reset.SUBTRACT


def _rockpool_step(node: Any) -> NDArray[np.float64]:
    """The step that the gain r = tau exp(-dt / tau) / dt tells."""
    return np.asarray(membrane_of(node) * lambert(1 / np.atleast_1d(node.r)))


@dataclass(frozen=True)
class Rule:
    """How files of one framework are mended.

    Attributes:
        mend: repairs a draft and gives the step it is in and the reset.
        arguments: what can be said of a model.
        unsaid: what its files cannot say.
    """

    mend: Callable[[Draft], tuple[float, Reset]]
    arguments: Arguments
    unsaid: str


RULES: Mapping[Maker, Rule] = {
    Maker.SNNTORCH: Rule(
        _snntorch,
        Arguments(
            writes=(nir.LIF, nir.CubaLIF),
            of_all=("reset_mechanism", "reset_delay", "inhibition"),
            of_each={"graded_spikes_factor": (nir.LIF, nir.CubaLIF)},
        ),
        "reset_mechanism, reset_delay, graded_spikes_factor, inhibition, padding_mode, divisor_override, and "
        "sums such as h + f(h)",
    ),
    Maker.NORSE: Rule(
        _norse,
        Arguments(
            writes=(nir.LIF, nir.CubaLIF, nir.LI, nir.IF),
            of_all=("reset_method", "dt"),
            of_each={"v_reset": FIRING},
        ),
        "its step, reset_method, v_reset, padding_mode, and sums such as h + f(h)",
    ),
    Maker.SPIKINGJELLY: Rule(
        _spikingjelly,
        Arguments(writes=FIRING),
        "parts of sums: the constant of h + 1.0, the second h of h + h",
    ),
    Maker.SINABS: Rule(
        _sinabs,
        Arguments(
            writes=(nir.LIF, nir.LI, nir.IF),
            of_all=("spike_fn", "reset_fn", "subtract_value", "min_v_mem"),
            of_each={"norm_input": (nir.LIF, nir.LI), "tau_syn": (nir.LIF, nir.LI)},
        ),
        "spike_fn, min_v_mem, reset_fn, subtract_value, norm_input, tau_syn, padding_mode",
    ),
    Maker.ROCKPOOL: Rule(
        _rockpool,
        Arguments(
            writes=(nir.LIF, nir.CubaLIF, nir.LI),
            of_all=("max_spikes_per_dt", "has_rec", "noise_std"),
            of_each={"bias": (nir.LIF, nir.CubaLIF, nir.LI)},
        ),
        "max_spikes_per_dt, the bias of LIFTorch, has_rec, noise_std",
    ),
}
