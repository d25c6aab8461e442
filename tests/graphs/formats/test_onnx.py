import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from nsc_deploy.energy.counting.onnx.count import count_onnx
from nsc_deploy.errors import BackendError, DataError, GraphError
from nsc_deploy.graphs.formats.onnx import read_onnx, write_onnx
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_build import CrossAttention, DenseLayer, LstmLayer, cross_attention, lstm, mlp
from nsc_deploy.graphs.onnx_run import run_onnx
from tests.support.small_runs import onnx_graph

DT = 0.03


def dense(layer):
    return DenseLayer(layer.weight.detach().numpy(), layer.bias.detach().numpy())


def of_torch(module):
    fields = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [
        LstmLayer(*(getattr(module, f"{field}_l{index}").detach().numpy() for field in fields))
        for index in range(module.num_layers)
    ]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("relu_last", [True, False])
def test_mlp_is_torch_s_for_every_number_of_steps_and_samples(tmp_path, relu_last):
    layers = [torch.nn.Linear(11, 16), torch.nn.Linear(16, 7)]
    path = tmp_path / "fc.onnx"
    write_onnx(path, mlp([dense(layer) for layer in layers], signal=Signal.REAL, dt=DT, relu_last=relu_last))
    for steps, samples in ((1, 1), (9, 5), (30, 70)):
        x = torch.randn(steps, samples, 11)
        wanted = layers[1](torch.relu(layers[0](x)))
        wanted = torch.relu(wanted) if relu_last else wanted
        got = run_onnx(path, x.numpy(), batch=32)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted.detach().numpy(), atol=1e-5)
    assert (got.min() < 0) is not relu_last


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_lstm_is_torch_s(layers):
    module, head = torch.nn.LSTM(10, 12, layers), torch.nn.Linear(12, 5)
    model = lstm(of_torch(module), dense(head), signal=Signal.EVENTS, dt=DT)
    x = (torch.rand(25, 6, 10) < 0.3).float()
    wanted = head(module(x)[0]).detach().numpy()
    np.testing.assert_allclose(run_onnx(model, x.numpy(), batch=4), wanted, atol=1e-5)
    bare = run_onnx(lstm(of_torch(module), None, signal=Signal.EVENTS, dt=DT), x.numpy())
    np.testing.assert_allclose(bare, module(x)[0].detach().numpy(), atol=1e-5)


def reference_attention(block, x):
    """The poster's equation in torch: convolutions over time, the gate's neurons, the product."""
    last = x.permute(1, 2, 0)
    left = torch.nn.functional.conv1d(last, torch.tensor(block.left), padding=2, groups=x.shape[2]).permute(
        2, 0, 1
    )
    right = torch.nn.functional.conv1d(last, torch.tensor(block.right), padding=1).permute(2, 0, 1)
    v, spikes = torch.zeros(x.shape[1:]), []
    for current in right:
        v = block.beta * v + current
        spikes.append((v > block.threshold).float())
        v = v * (1 - spikes[-1])
    stacked = torch.stack(spikes)
    return left * (1 - stacked @ torch.tensor(block.gate).T), stacked.mean()


def test_cross_attention_is_the_poster_s():
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.normal(0, 0.3, shape).astype(np.float32)

    block = CrossAttention(
        normal(14, 1, 5), normal(14, 14, 3), np.float32(0.5), np.float32(1), normal(14, 14)
    )
    x = torch.from_numpy(normal(20, 6, 14)) * 4
    wanted, rate = reference_attention(block, x)
    assert 0.1 < rate < 0.9
    model = cross_attention(block, signal=Signal.REAL, dt=DT)
    np.testing.assert_allclose(run_onnx(model, x.numpy()), wanted.numpy(), atol=1e-5)
    assert [node.op_type for node in model.graph.node].count("Scan") == 1


def test_files_keep_the_step_and_what_enters(tmp_path):
    path = tmp_path / "fc.onnx"
    write_onnx(path, mlp([DenseLayer(np.eye(3))], signal=Signal.EVENTS, dt=DT))
    metadata = {prop.key: prop.value for prop in read_onnx(path).metadata_props}
    assert (float(metadata["dt"]), metadata["signal"], metadata["units"]) == (DT, "events", "s")


def test_no_flipped_bit_passes_for_a_weight(tmp_path):
    path, rng = tmp_path / "fc.onnx", np.random.default_rng(1)
    write_onnx(path, mlp([DenseLayer(rng.normal(size=(4, 3)))], signal=Signal.EVENTS, dt=DT))
    intact, content = run_onnx(path, np.ones((1, 1, 3))), path.read_bytes()
    refused = 0
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        try:
            np.testing.assert_array_equal(run_onnx(path, np.ones((1, 1, 3))), intact)
        except GraphError:
            refused += 1
    assert refused > 0.8 * len(content)
    write_onnx(path, onnx.ModelProto.FromString(content))
    assert path.read_bytes() == content


def add_external(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def add_foreign(model):
    model.graph.node[0].domain = "com.example"


def add_unknown(model):
    model.graph.node[0].op_type = "Nonsense"


def add_wrong_shape(model):
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((5, 3), np.float32), "dense1_weight"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (add_external, "another file"),
        (add_foreign, "not ONNX's own"),
        (add_unknown, "not a valid ONNX model"),
        (add_wrong_shape, "not a valid ONNX model"),
    ],
)
def test_foreign_and_damaged_models_are_refused(tmp_path, spoil, message):
    model, path = mlp([DenseLayer(np.eye(3))], signal=Signal.REAL, dt=DT), tmp_path / "bad.onnx"
    spoil(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(GraphError, match=message) as caught:
        read_onnx(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("content", [b"", b"not a model", b"\xff" * 5000])
def test_what_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(GraphError, match="ONNX"):
        read_onnx(path)
    with pytest.raises(GraphError, match="cannot be read"):
        read_onnx(tmp_path / "missing.onnx")


def test_values_that_do_not_fit_are_refused():
    model = mlp([DenseLayer(np.eye(3))], signal=Signal.REAL, dt=DT)
    for shape in ((2, 2, 4), (2, 3), (0, 2, 3)):
        with pytest.raises(DataError, match="is wanted"):
            run_onnx(model, np.zeros(shape))


def test_a_model_that_gives_nan_is_not_believed():
    graph = helper.make_graph(
        [helper.make_node("Log", ["input"], ["output"])],
        "log",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["T", "N", 2])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["T", "N", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    with pytest.raises(BackendError, match="NaN"):
        run_onnx(model, -np.ones((1, 1, 2)))


CHOICES = {
    "a masked score": [helper.make_node("Where", ["fired", "low", "input"], ["output"])],
    "a bound": [helper.make_node("Clip", ["input", "zero", "high"], ["output"])],
    "the start of a maximum": [helper.make_node("Max", ["input", "low"], ["output"])],
    "a causal mask": [
        helper.make_node("Unsqueeze", ["mask", "axis"], ["turned"]),
        helper.make_node("Add", ["input", "turned"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["output"]),
    ],
    "a filled mask": [
        helper.make_node("Expand", ["low", "size"], ["filled"]),
        helper.make_node("Trilu", ["filled", "one"], ["upper"], upper=1),
        helper.make_node("Add", ["input", "upper"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["output"]),
    ],
}
WEIGHTS = {
    "a weight": ([helper.make_node("MatMul", ["input", "endless"], ["output"])], "endless"),
    "a bias": ([helper.make_node("Add", ["input", "row"], ["output"])], "row"),
    "a turned weight": (
        [
            helper.make_node("Transpose", ["endless"], ["turned"]),
            helper.make_node("MatMul", ["input", "turned"], ["output"]),
        ],
        "turned",
    ),
    "a factor": ([helper.make_node("Mul", ["input", "high"], ["output"])], "high"),
}


def with_infinity(path, nodes):
    constants = {
        "low": np.float32(-np.inf), "high": np.float32(np.inf), "zero": np.float32(0), "one": np.array(1),
        "axis": np.array([0]), "size": np.array([3, 3]), "endless": np.full((3, 3), np.inf, np.float32),
        "row": np.array([0, np.inf, 1], np.float32), "mask": np.triu(np.full((3, 3), -np.inf, np.float32), 1),
    }  # fmt: skip
    nodes = [helper.make_node("Greater", ["input", "zero"], ["fired"]), *nodes]
    onnx_graph(path, nodes, constants, 3, 3)
    return path


@pytest.mark.parametrize("case", CHOICES)
def test_an_infinity_that_bounds_or_masks_is_accepted(tmp_path, case):
    path = with_infinity(tmp_path / "net.onnx", CHOICES[case])
    read_onnx(path)
    count_onnx(path, Recording(np.ones((3, 2, 3), np.float32), Signal.REAL, DT))


@pytest.mark.parametrize("case", WEIGHTS)
def test_an_infinity_that_is_computed_with_is_refused(tmp_path, case):
    nodes, name = WEIGHTS[case]
    with pytest.raises(GraphError, match=f"net.onnx.* holds infinity in '{name}'"):
        read_onnx(with_infinity(tmp_path / "net.onnx", nodes))
