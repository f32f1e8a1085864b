"""What a model is told of its tensors: it must fit together."""

import pytest
import torch

from physgen.tensor_spec import Rows, TensorSpec

ONE = TensorSpec(n_features=1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"binary": (True,)}, "binary has 1 entries for 2 features"),
        ({"shape": (3,)}, r"an array of shape \(3,\) has not 2 features"),
        ({"shape": (2,), "periodic": (True, True)}, r"periodic has 2 entries for \(2,\)"),
        ({"stages": (ONE, ONE)}, "a stage has 0 conditions, but 1 numbers are known"),
        ({"stages": (ONE,)}, "the stages together do not have all features"),
    ],
)
def test_parts_that_do_not_fit(settings, words):
    with pytest.raises(ValueError, match=words):
        TensorSpec(n_features=2, **settings)


def test_rows_are_counted_within_what_there_can_be():
    condition = torch.tensor([[0.0, -3.0], [0.0, 0.4], [0.0, 0.6], [0.0, 9.0]])
    assert Rows(1, 1.0, 2.0, n_max=4).count(condition).tolist() == [0, 2, 2, 4]
    assert Rows(1, 1.0, 2.0).count(condition).tolist() == [0, 2, 2, 19]
    # every event has them all, and no condition tells it
    assert Rows(0, 3.0, 0.0).count(condition[:, :0]).tolist() == [3, 3, 3, 3]
