import nir
import numpy as np
import pytest

from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.base import Status
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.registry import load_target
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Reset, Signal


def subtracting(*, leaky=False):
    build = GraphBuilder(1e-3, Reset.SUBTRACT)
    build.input(6, Signal.EVENTS)
    build.linear("weight", np.arange(-9, 9).reshape(3, 6) / 8)
    if leaky:
        build.lif("neurons", 0.5, 0.5, 3)
    else:
        build.integrate_and_fire("neurons", 0.5, 3)
    build.output(3)
    return build.build()


def test_a_reset_by_subtraction_is_written_out_and_fires_alike(tmp_path):
    write_network(tmp_path / "graph.nir", subtracting())
    events = (np.random.default_rng(0).random((20, 5, 6)) < 0.5).astype(np.uint8)
    write_recording(tmp_path / "inputs.npz", Recording(events, Signal.EVENTS, 1e-3))
    lines = []
    (out,) = export_all(
        tmp_path / "graph.nir",
        "nir-plain",
        tmp_path / "out",
        inputs=tmp_path / "inputs.npz",
        notify=lines.append,
    )
    raw = nir.read(out / "network.nir")
    assert "reset" not in raw.metadata
    assert sorted(type(node).__name__ for node in raw.nodes.values()) == [
        "I", "Input", "Linear", "Output", "Scale", "Threshold",
    ]  # fmt: skip
    assert any("spikes are those of the reference simulator" in line for line in lines)
    assert any("no number changes" in line for line in lines)
    assert read_network(out / "network.nir").reset is None


def test_the_verdict_names_what_each_neuron_becomes():
    target = load_target("nir-plain")
    verdicts = {one.node: one for one in target.check(assemble(subtracting())).verdicts}
    assert verdicts["neurons"].status is Status.SUBSTITUTED
    assert "a loop that takes the threshold off" in verdicts["neurons"].reason
    assert load_target("nir").check(assemble(subtracting())).verdicts[2].status is Status.NATIVE


def test_a_leak_cannot_be_written_out(tmp_path):
    write_network(tmp_path / "graph.nir", subtracting(leaky=True))
    with pytest.raises(ExportError, match="can be written out for an IF alone: a LIF leaks") as refused:
        export_all(tmp_path / "graph.nir", "nir-plain", tmp_path / "out")
    assert "--target nir" in refused.value.hint
    assert not (tmp_path / "out").exists()
