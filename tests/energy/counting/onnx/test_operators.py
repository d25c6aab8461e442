"""One registration says all that is known of an operator, whoever makes it."""

from collections.abc import Mapping
from math import prod
from pathlib import Path

import pytest
from onnx import helper

from nsc_deploy.energy.counting.onnx import count
from nsc_deploy.energy.counting.onnx.axes import along
from nsc_deploy.energy.counting.onnx.count import count_onnx
from nsc_deploy.energy.counting.onnx.operators import OPERATORS, Cost, Shape, Site, gathered, register
from nsc_deploy.energy.counting.operations import Kind
from nsc_deploy.errors import GraphError
from tests.support.small_runs import SAMPLES, STEPS, events, onnx_graph, reals, weights


def test_an_operator_of_a_third_party_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*OPERATORS]:
        monkeypatch.setitem(OPERATORS, name, OPERATORS[name])
    path = tmp_path / "graph.onnx"
    nodes = [helper.make_node("LpNormalization", ["input"], ["output"], name="norm", axis=2)]
    onnx_graph(path, nodes, {}, 4, 4)
    with pytest.raises(GraphError, match="LpNormalization"):
        count_onnx(path, reals(4))
    monkeypatch.setitem(OPERATORS, "LpNormalization", OPERATORS["Relu"])

    @register("LpNormalization", axes=along(-1), traffic=gathered)
    def lp_normalization(site: Site, shapes: Mapping[str, Shape]) -> Cost:
        """x / root of the sum of squares."""
        values = prod(shapes[site.node.input[0]])
        return Cost({Kind.PRODUCT: 2 * values, Kind.ACTIVATION: values // 4})

    [layer] = count_onnx(path, reals(4)).layers
    assert layer.per_sample.products.tolist() == [STEPS * 8] * SAMPLES
    assert layer.traffic.activation_reads.tolist() == [STEPS * 4] * SAMPLES
    assert layer.per_step is not None


def test_an_operator_without_a_rule_is_refused_before_the_graph_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["dense"], name="dense"),
        helper.make_node("LpNormalization", ["dense"], ["output"], name="norm"),
    ]
    onnx_graph(tmp_path / "graph.onnx", nodes, {"w": weights(4, 3)}, 4, 3)
    monkeypatch.setattr(count, "start_session", None)
    with pytest.raises(GraphError, match=r"'norm': has .*\nCounted are: Abs, .*free are: Cast"):
        count_onnx(tmp_path / "graph.onnx", events(4))
