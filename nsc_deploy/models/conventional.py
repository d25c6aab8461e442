"""The conventional systems that the poster compares with: layers applied step by step, and LSTMs."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from nsc_deploy.deployment import Place, Readout
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_build import DenseLayer, LstmLayer, lstm, mlp
from nsc_deploy.models.spiking import bias_of, weight_of
from nsc_deploy.models.stage import Stage, StageLabel


class Perceptron(Stage):
    """Dense layers with ReLU, applied to each step on its own: [T, B, sizes[0]] to [T, B, sizes[-1]].

    Args:
        sizes: inputs, then the outputs of each layer.
        takes: what enters.
        relu_last: whether the last layer has a ReLU too.
    """

    place = Place.HOST
    description = "dense layers with ReLU, step by step"
    emits = Signal.REAL

    def __init__(self, sizes: Sequence[int], takes: Signal, *, relu_last: bool) -> None:
        super().__init__()
        self.takes = takes
        self.relu_last = relu_last
        self.layers = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes))

    def forward(self, signal: Tensor) -> Tensor:
        """Features [T, B, out]."""
        for layer in self.layers[:-1]:
            signal = functional.relu(layer(signal))
        last: Tensor = self.layers[-1](signal)
        return functional.relu(last) if self.relu_last else last

    def graph(self, dt: float, readout: Readout | None) -> object:
        """MatMul, Add and Relu nodes."""
        del readout
        layers = [_dense_layer(layer) for layer in self.layers if isinstance(layer, nn.Linear)]
        return mlp(layers, signal=self.takes, dt=dt, relu_last=self.relu_last)


class Recurrent(Stage):
    """LSTM layers, and a dense layer on every step where a receiver needs one.

    Args:
        inputs: features that enter.
        hidden: features of each LSTM layer.
        layers: number of LSTM layers.
        takes: what enters.
        outputs: outputs of the dense layer; None for none.
        dropout: probability that a feature between two LSTM layers is dropped in training.
    """

    place = Place.HOST
    description = "LSTM layers"
    emits = Signal.REAL

    def __init__(
        self,
        inputs: int,
        hidden: int,
        layers: int,
        takes: Signal,
        *,
        outputs: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.takes = takes
        self.lstm = nn.LSTM(inputs, hidden, layers, dropout=dropout if layers > 1 else 0.0)
        self.head = None if outputs is None else nn.Linear(hidden, outputs)

    def forward(self, signal: Tensor) -> Tensor:
        """Features [T, B, out]."""
        features: Tensor = self.lstm(signal)[0]
        return features if self.head is None else self.head(features)

    def graph(self, dt: float, readout: Readout | None) -> object:
        """LSTM nodes, and MatMul and Add behind them."""
        del readout
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        layers = [
            LstmLayer(*(getattr(self.lstm, f"{name}_l{index}").detach().numpy() for name in names))
            for index in range(self.lstm.num_layers)
        ]
        head = None if self.head is None else _dense_layer(self.head)
        return lstm(layers, head, signal=self.takes, dt=dt)


class HostDense(Stage):
    """A dense layer on real values, whose output is the current of the chip's first neurons.

    Args:
        inputs: real values that enter.
        outputs: currents that leave.
    """

    label = StageLabel.HOST
    place = Place.HOST
    description = "the dense layer that meets real values"
    takes = Signal.REAL
    emits = Signal.REAL

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)

    def forward(self, signal: Tensor) -> Tensor:
        """Currents [T, B, out]."""
        return self.dense(signal)  # type: ignore[no-any-return]

    def graph(self, dt: float, readout: Readout | None) -> object:
        """MatMul and Add."""
        del readout
        return mlp([_dense_layer(self.dense)], signal=self.takes, dt=dt, relu_last=False)


def _dense_layer(layer: nn.Linear) -> DenseLayer:
    return DenseLayer(weight_of(layer), bias_of(layer))
