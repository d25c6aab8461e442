import numpy as np
import pytest

from nsc_deploy.models.features.fire_kernels import _derivative


@pytest.mark.parametrize("slope", [0.25, 4.0, 1000.0])
def test_the_derivative_is_that_of_a_sigmoid_within_rounding(slope):
    potentials = np.linspace(-30, 30, 2001, dtype=np.float32)
    rounded, power, derivative = (np.empty_like(potentials) for _ in range(3))
    bits = rounded.view(np.int32), power.view(np.int32)
    _derivative(potentials, np.float32(1), np.float32(slope), rounded, bits[0], power, bits[1], derivative)
    y = slope * np.abs(potentials - np.float32(1)).astype(np.float64)
    e = np.exp(-np.minimum(y, 700))
    expected = slope * e / (1 + e) ** 2
    near = y < 80
    np.testing.assert_allclose(derivative[near], expected[near], rtol=3e-5 if slope > 100 else 3e-6)
    assert derivative[~near].max(initial=0) < slope * 1e-30
