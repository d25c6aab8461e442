import numpy as np
import pytest

from nsc_deploy.errors import DataError
from nsc_deploy.graphs.readout import decide, scores


def test_groups_vote_and_the_first_of_equals_wins():
    outputs = np.zeros((4, 3, 6), np.float32)
    outputs[0, 0, 5] = outputs[2, 0, 4] = outputs[1, 0, 0] = 1  # class 2 twice, class 0 once
    outputs[:, 1, 2] = 1
    outputs[:, 1, 1] = 1  # classes 0 and 1 alike
    assert decide(outputs, classes=3, group=2).tolist() == [2, 0, 0]
    assert scores(outputs, classes=3, group=2)[0].tolist() == [1 / 8, 0, 2 / 8]
    assert decide(outputs, classes=6, group=1).tolist() == [0, 1, 0]


def test_other_shapes_are_refused():
    with pytest.raises(DataError, match=r"3 \* 2"):
        decide(np.zeros((4, 3, 5)), classes=3, group=2)
