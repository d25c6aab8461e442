"""What can be said of a model, what is assumed, what is refused; the spikes are tests/conformance's."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from nsc_deploy.cli.app import app
from nsc_deploy.cli.exit_codes import run_to_exit_code
from nsc_deploy.errors import ConfigError, GraphError
from nsc_deploy.graphs.formats.nir import read_network, to_nir
from nsc_deploy.graphs.formats.writers.mend import Mended, mend
from nsc_deploy.graphs.formats.writers.statement import Maker, Statement
from nsc_deploy.graphs.network import Reset, Signal
from nsc_deploy.graphs.simulate import simulate

FOUR = np.ones(4, np.float32)
EVENTS = np.random.default_rng(0).integers(0, 2, (40, 6, 3)).astype(np.uint8)


def chain(*nodes: Any) -> nir.NIRGraph:
    named = {"input": nir.Input(np.array([3])), **{str(i): node for i, node in enumerate(nodes)}}
    named["output"] = nir.Output(np.array([4]))
    return nir.NIRGraph(named, list(pairwise(named)), type_check=False)


def dense() -> nir.Affine:
    weight = np.random.default_rng(1).normal(0.3, 0.5, (4, 3)).astype(np.float32)
    return nir.Affine(weight, np.zeros(4, np.float32))


def lif(tau: float, r: float = 1.0) -> nir.LIF:
    return nir.LIF(tau=tau * FOUR, r=r * FOUR, v_leak=0 * FOUR, v_threshold=FOUR, v_reset=0 * FOUR)


def integrator(tau: float, v_leak: float = 0.0) -> nir.LI:
    return nir.LI(tau=tau * FOUR, r=FOUR, v_leak=v_leak * FOUR)


def sinabs() -> nir.NIRGraph:
    return chain(dense(), lif(20.0))


def rockpool() -> nir.NIRGraph:
    cell = nir.CubaLIF(
        tau_mem=0.02 * FOUR,
        tau_syn=0.01 * FOUR,
        r=np.float32(20 * np.exp(-0.05)) * FOUR,
        v_leak=0 * FOUR,
        v_threshold=FOUR,
    )
    return chain(dense(), cell)


def snntorch() -> nir.NIRGraph:
    return chain(dense(), lif(1e-3, 10.0))


def recurrent() -> nir.NIRGraph:
    """An RLeaky of snnTorch."""
    graph = snntorch()
    graph.nodes["back"] = nir.Linear(np.eye(4, dtype=np.float32))
    graph.edges += [("1", "back"), ("back", "1")]
    return graph


def synaptic() -> nir.NIRGraph:
    """A Synaptic of snnTorch."""
    cell = nir.CubaLIF(
        tau_mem=1e-3 * FOUR,
        tau_syn=1e-3 * FOUR,
        r=10 * FOUR,
        w_in=10 * FOUR,
        v_leak=0 * FOUR,
        v_threshold=FOUR,
    )
    return chain(dense(), cell)


def norse(v_leak: float = 0.0) -> nir.NIRGraph:
    graph = chain(dense(), lif(1e-5))
    graph.nodes["1"].v_leak = v_leak * FOUR
    return graph


def shared_front() -> nir.NIRGraph:
    """A recurrence with a bias behind a layer that another neuron reads too."""
    graph = snntorch()
    graph.nodes |= {"back": nir.Affine(np.eye(4, dtype=np.float32), FOUR), "2": lif(1e-3, 10.0)}
    graph.edges += [("1", "back"), ("back", "1"), ("0", "2"), ("2", "output")]
    return graph


def coefficients(done: Mended) -> tuple[float, float]:
    """Decay and gain of one step."""
    node, dt = done.network.node("1").parameters, done.network.step_seconds
    return float(1 - dt / node.tau[0]), float(node.r[0] * dt / node.tau[0])


@pytest.mark.parametrize("dt", [1.0, 1e-3])
@pytest.mark.parametrize("norm", ["true", "false"])
def test_sinabs_decays_exponentially_in_steps(dt: float, norm: str) -> None:
    done = mend(sinabs(), Maker.SINABS, Statement(dt=dt, said={"norm_input": norm}))
    alpha = np.exp(-1 / 20)
    assert coefficients(done) == pytest.approx((alpha, 1 - alpha if norm == "true" else 1.0), rel=1e-6)
    assert (done.network.dt, done.network.reset) == (dt, Reset.SUBTRACT)
    assert [text.partition(" ")[0] for text in done.assumed] == ["spike_fn=SingleSpike", "min_v_mem=None"]


@pytest.mark.parametrize(
    "make, maker, reset, default",
    [
        (snntorch, Maker.SNNTORCH, Reset.ZERO, "subtract"),
        (norse, Maker.NORSE, Reset.SUBTRACT, "zero"),
        (sinabs, Maker.SINABS, Reset.ZERO, "subtract"),
    ],
)
def test_a_reset_that_is_not_the_default_is_told(make: Any, maker: Maker, reset: Reset, default: str) -> None:
    told = mend(make(), maker, Statement(dt=1e-3, reset=reset)).assumed
    assert [text for text in told if text.endswith(f"({maker}'s default: {default})")]
    assert not [text for text in mend(make(), maker, Statement(dt=1e-3)).assumed if "'s default: " in text]


def test_a_file_of_another_framework_than_the_one_named_is_told() -> None:
    graph = chain(dense(), lif(1e-3, 10.0))  # snnTorch's tau = 1e-4 r
    told = mend(graph, Maker.SINABS, Statement(dt=1.0)).assumed
    assert told[0].startswith(
        "that sinabs wrote the file (it looks like a file of snnTorch's export_to_nir: "
    )
    assert not [one for one in mend(graph, Maker.SNNTORCH, Statement()).assumed if "wrote the file" in one]


@pytest.mark.parametrize("make", [recurrent, synaptic])
def test_a_reset_at_once_of_snntorch_is_assumed_where_a_late_one_is_another(make: Any) -> None:
    said = {"reset_mechanism": "zero"}
    [assumed] = mend(make(), Maker.SNNTORCH, Statement(said=said)).assumed
    assert assumed.startswith("reset_delay=False (snntorch's default is True: ")
    graded = {**said, "graded_spikes_factor": "0.5"}
    assert mend(make(), Maker.SNNTORCH, Statement(said=graded)).assumed == (assumed,)
    assert mend(make(), Maker.SNNTORCH, Statement(said={**said, "reset_delay": "false"})).assumed == ()
    assert mend(snntorch(), Maker.SNNTORCH, Statement(said=said)).assumed == ()


def test_expleak_of_sinabs_takes_in_its_whole_input_by_default() -> None:
    """norm_input is true of LIF and false of ExpLeak there; either can be said of one node."""

    def gains(**said: str) -> list[float]:
        graph = chain(dense(), lif(20.0), nir.Affine(np.eye(4, dtype=np.float32), FOUR), integrator(20.0))
        done = mend(graph, Maker.SINABS, Statement(dt=1.0, said=said))
        nodes = [done.network.node(name).parameters for name in ("1", "3")]
        return [float(node.r[0] / node.tau[0]) for node in nodes]

    share = 1 - np.exp(-1 / 20)
    assert gains() == pytest.approx([share, 1.0], rel=1e-6)
    assert gains(norm_input="true") == pytest.approx([share, share], rel=1e-6)
    assert gains(**{"1.norm_input": "false"}) == pytest.approx([1.0, 1.0], rel=1e-6)


def test_the_step_that_norse_wrote_with_need_not_be_the_model_s() -> None:
    """A tau of 10 ms, written by to_nir with 1 ms, of a model with 0.1 ms: it leaks a hundredth a step."""
    done = mend(norse(), Maker.NORSE, Statement(dt=1e-4, said={"dt": "1e-3"}))
    assert coefficients(done) == pytest.approx((0.99, 0.01), rel=1e-6)
    assert done.assumed == ()
    [assumed] = mend(norse(), Maker.NORSE, Statement(dt=1e-4)).assumed
    assert assumed.startswith("to_nir(dt=0.0001)")
    assert mend(norse(), Maker.NORSE, Statement(dt=1e-3)).assumed == ()


def test_integrators_take_in_their_whole_input_at_any_step() -> None:
    graph = chain(dense(), nir.IF(r=FOUR, v_threshold=FOUR))
    outputs = [
        simulate(mend(graph, Maker.SINABS, Statement(dt=dt)).network, EVENTS).output for dt in (1.0, 1e-3)
    ]
    assert outputs[0].any()
    np.testing.assert_array_equal(*outputs)


def test_rockpool_s_step_is_in_its_numbers() -> None:
    done = mend(rockpool(), Maker.ROCKPOOL, Statement(said={"bias": "0.1"}))
    node, dt = done.network.node("1").parameters, 1e-3
    assert done.network.dt == dt
    found = [1 - dt / node.tau_mem[0], 1 - dt / node.tau_syn[0]]
    assert found == pytest.approx([np.exp(-0.05), np.exp(-0.1)], rel=1e-6)
    gains = [node.r * dt / node.tau_mem, node.w_in * dt / node.tau_syn, node.v_leak * dt / node.tau_mem]
    assert [float(gain[0]) for gain in gains] == pytest.approx([1.0, np.exp(-0.1), 0.1], rel=1e-6)
    with pytest.raises(ConfigError, match=r"tell a step of 0\.001 s"):
        mend(rockpool(), Maker.ROCKPOOL, Statement(dt=2e-3))


@pytest.mark.parametrize("known", [{"dt": 1e-3}, {"step_seconds": 1e-3}, {"dt": 1e-4, "step_seconds": 1e-3}])
def test_a_nominal_step_becomes_the_real_one_and_no_spike_changes(known: dict[str, float]) -> None:
    nominal = mend(snntorch(), Maker.SNNTORCH, Statement()).network
    real = mend(snntorch(), Maker.SNNTORCH, Statement(**known)).network
    assert (nominal.dt, real.dt) == (1e-4, 1e-3)
    wanted = simulate(nominal, EVENTS).output
    assert wanted.any()
    np.testing.assert_array_equal(simulate(real, EVENTS).output, wanted)


REFUSED = [
    (sinabs, Maker.SINABS, {"spike_fn": "MultiSpike"}, "several times a step"),
    (sinabs, Maker.SINABS, {"min_v_mem": "-1"}, "holds potentials up"),
    (sinabs, Maker.SINABS, {"min_v_mem": "0"}, "holds potentials up"),
    (sinabs, Maker.SINABS, {"min_v_mem": "false"}, "holds potentials up"),
    (sinabs, Maker.SINABS, {"subtract_value": "0.5"}, "something else off than the threshold"),
    (sinabs, Maker.SINABS, {"subtract_value": "0"}, "something else off than the threshold"),
    (rockpool, Maker.ROCKPOOL, {"noise_std": "0.1"}, "drops the noise"),
    (lambda: chain(dense(), integrator(1e-5, 0.25)), Maker.NORSE, {}, "starts at a v_leak other than 0"),
    (rockpool, Maker.ROCKPOOL, {"max_spikes_per_dt": "31"}, "several times a step"),
    (rockpool, Maker.ROCKPOOL, {"has_rec": "true"}, "drops the recurrence"),
    (snntorch, Maker.SNNTORCH, {"inhibition": "True"}, "one neuron of a layer"),
    (snntorch, Maker.SNNTORCH, {"reset_mechanism": "none"}, "reset_mechanism=none"),
    (recurrent, Maker.SNNTORCH, {"reset_mechanism": "zero", "reset_delay": "true"}, "one step late"),
    (synaptic, Maker.SNNTORCH, {"reset_mechanism": "zero", "reset_delay": "true"}, "one step late"),
    (synaptic, Maker.SNNTORCH, {}, "one step late (subtract)"),
    (sinabs, Maker.NORSE, {}, "right as they are"),
    # The threshold itself comes off, and not what is left of it above v_leak.
    (lambda: norse(0.25), Maker.NORSE, {"reset_method": "reset_subtract", "v_reset": "0.25"}, "v_leak 0"),
    (rockpool, Maker.SINABS, {}, "CubaLIF, which the exporter of sinabs does not write"),
    (sinabs, Maker.SNNTORCH, {}, "not snnTorch's r = tau / 1e-4"),
    (shared_front, Maker.SNNTORCH, {"reset_mechanism": "zero"}, "no dense layer of its own"),
]


@pytest.mark.parametrize(("make", "maker", "said", "problem"), REFUSED)
def test_what_no_graph_can_hold_is_refused(
    make: Any, maker: Maker, said: dict[str, str], problem: str
) -> None:
    known = Statement(dt=1e-3 if maker is Maker.NORSE else None, said=said)
    with pytest.raises(GraphError) as caught:
        mend(make(), maker, known)
    assert problem in f"{caught.value.problem} {caught.value.hint}"


@pytest.mark.parametrize(
    ("make", "maker", "said"),
    [
        (sinabs, Maker.SINABS, {"spike_fn": "SingleSpike", "min_v_mem": "None", "subtract_value": "none"}),
        (rockpool, Maker.ROCKPOOL, {"max_spikes_per_dt": "1.0", "has_rec": "no", "noise_std": "0.0"}),
        (snntorch, Maker.SNNTORCH, {"inhibition": "0", "reset_mechanism": "zero"}),
    ],
)
def test_what_a_graph_holds_can_be_said_in_several_words(
    make: Any, maker: Maker, said: dict[str, str]
) -> None:
    assert mend(make(), maker, Statement(said=said)).assumed == ()


@pytest.mark.parametrize(
    ("make", "maker", "known", "problem"),
    [
        (sinabs, Maker.SINABS, Statement(said={"norm": "true"}), "'norm' is not known of sinabs"),
        (sinabs, Maker.SINABS, Statement(said={"norm_input": "perhaps"}), "neither true nor false"),
        (sinabs, Maker.SINABS, Statement(said={"tau_syn": "long"}), "is no number"),
        (sinabs, Maker.SINABS, Statement(sums={"nowhere": ("1",)}), "no node 'nowhere'"),
        (sinabs, Maker.NORSE, Statement(), "do not tell the step"),
        (rockpool, Maker.ROCKPOOL, Statement(reset=Reset.ZERO), "by subtraction alone"),
        (snntorch, Maker.SPIKINGJELLY, Statement(reset=Reset.SUBTRACT), "every reset but zero"),
        (
            norse,
            Maker.NORSE,
            Statement(dt=1e-3, said={"nowhere.v_reset": "1"}),
            "'nowhere', which is no neuron",
        ),
        (norse, Maker.NORSE, Statement(dt=1e-3, said={"0.v_reset": "1"}), "'0', which is no neuron"),
        (norse, Maker.NORSE, Statement(dt=1e-3, said={"v_reset": "nan"}), "no finite number"),
        (
            norse,
            Maker.NORSE,
            Statement(dt=1e-3, reset=Reset.SUBTRACT, said={"reset_method": "reset_value"}),
            "reset subtract and reset_method=reset_value differ",
        ),
        (
            sinabs,
            Maker.SINABS,
            Statement(reset=Reset.SUBTRACT, said={"reset_fn": "MembraneReset"}),
            "reset subtract and reset_fn=MembraneReset differ",
        ),
        (sinabs, Maker.SINABS, Statement(said={"1.spike_fn": "SingleSpike"}), "spike_fn of '1' alone"),
        (norse, Maker.NORSE, Statement(dt=1e-3, said={"dt": "0"}), "no number of seconds above 0"),
        (sinabs, Maker.SINABS, Statement(said={"tau_syn": "0"}), "no time constant above 0"),
        (snntorch, Maker.SNNTORCH, Statement(said={"1.inhibition": "true"}), "inhibition of '1' alone"),
        (snntorch, Maker.SNNTORCH, Statement(sums={"1": ("0", "0")}), "'0' more than once"),
    ],
)
def test_what_is_said_wrongly_is_named(make: Any, maker: Maker, known: Statement, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        mend(make(), maker, known)


def test_a_graph_is_mended_once() -> None:
    once = to_nir(mend(sinabs(), Maker.SINABS, Statement(dt=1e-3)).network)
    with pytest.raises(GraphError, match="written by this tool"):
        mend(once, Maker.SINABS, Statement(dt=1e-3))


def test_a_step_that_nobody_told_is_said_to_be_assumed() -> None:
    graph = chain(dense(), nir.LIF(tau=2e-4 * FOUR, r=FOUR, v_leak=0 * FOUR, v_threshold=FOUR))
    assert mend(graph, Maker.SPIKINGJELLY, Statement(dt=1e-4)).assumed == ()
    [assumed] = mend(graph, Maker.SPIKINGJELLY, Statement()).assumed
    assert assumed.startswith("dt=0.0001")
    real = mend(graph, Maker.SPIKINGJELLY, Statement(step_seconds=1e-3))
    assert (real.network.dt, coefficients(real)) == (1e-3, pytest.approx((0.5, 0.5)))
    other = mend(graph, Maker.SPIKINGJELLY, Statement(dt=5e-5))
    assert (other.network.dt, coefficients(other)) == (5e-5, pytest.approx((0.75, 0.25)))
    assert [text.partition(" (")[0] for text in other.assumed] == ["export_to_nir(dt=5e-05)"]


def tool(*words: object) -> int:
    return run_to_exit_code(lambda: app([str(word) for word in words], prog_name="nsc-deploy"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that nir's own reader cannot open: a convolution without the shape of what enters."""
    nodes = {
        "input": nir.Input(np.array([1, 4, 4])),
        "0": nir.Conv2d((4, 4), np.full((2, 1, 3, 3), 0.4, np.float32), 1, 1, 1, 1, np.zeros(2, np.float32)),
        "1": nir.IF(r=np.ones((2, 4, 4), np.float32), v_threshold=np.ones((2, 4, 4), np.float32)),
        "output": nir.Output(np.array([2, 4, 4])),
    }
    nir.write(tmp_path / "it.nir", nir.NIRGraph(nodes, list(pairwise(nodes))))
    with h5py.File(tmp_path / "it.nir", "r+") as opened:
        del opened["node/nodes/0/input_shape"]
    with pytest.raises(TypeError):
        nir.read(tmp_path / "it.nir")
    np.save(tmp_path / "x.npy", np.random.default_rng(3).integers(0, 2, (30, 5, 1, 4, 4)))
    return tmp_path / "it.nir"


def test_the_command_writes_a_file_that_says_all(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, events = file.with_name("mended.nir"), file.with_name("x.npy")
    words = ("mend", file, "--from", "sinabs", "--dt", "1e-3", "--signal", "events", "--out", out)
    assert tool(*words) == 0
    told = capsys.readouterr().out
    assert "taken for granted: spike_fn=SingleSpike" in told
    assert "not compared with sinabs, whose files cannot say spike_fn" in told
    network = read_network(out)
    assert (network.dt, network.reset, network.diagnostics) == (1e-3, Reset.SUBTRACT, ())
    assert network.input_node.emits is Signal.EVENTS
    np.save(file.with_name("y.npy"), simulate(network, np.load(events)).output)
    compared = (*words, "--inputs", events, "--outputs", file.with_name("y.npy"))
    assert tool(*compared) == 0
    assert "verified: all 4800 outputs are those of" in capsys.readouterr().out


def test_what_is_said_twice_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("mend", file, "--from", "sinabs", "--out", file.with_name("mended.nir"))
    assert tool(*words, "--set", "norm_input=false", "--set", "norm_input=true") == 2
    assert "says norm_input twice" in capsys.readouterr().err


def test_outputs_of_more_samples_than_entered_verify_nothing(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, outputs = file.with_name("mended.nir"), file.with_name("y.npy")
    words = ("mend", file, "--from", "sinabs", "--signal", "events", "--out", out)
    assert tool(*words) == 0
    wanted = simulate(read_network(out), np.load(file.with_name("x.npy"))).output
    out.unlink()
    np.save(outputs, np.concatenate([wanted, 1 - wanted], axis=1))
    assert tool(*words, "--inputs", file.with_name("x.npy"), "--outputs", outputs) == 2
    assert "holds 10 samples, and 5 enter" in capsys.readouterr().err
    assert not out.exists()


def test_nothing_is_written_where_the_model_gave_something_else(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = file.with_name("mended.nir")
    np.save(file.with_name("y.npy"), np.ones((30, 5, 2, 4, 4)))
    words = ("mend", file, "--from", "sinabs", "--signal", "events", "--out", out)
    assert tool(*words, "--inputs", file.with_name("x.npy"), "--outputs", file.with_name("y.npy")) == 2
    told = capsys.readouterr().err
    assert "the model is another network" in told
    assert "spike_fn, min_v_mem, reset_fn, subtract_value, norm_input, tau_syn" in told
    assert not out.exists()
