"""The torch version of each transform against its numpy original."""

import dataclasses

import numpy as np
import pytest
import torch

import physgen as pg
from physgen.exporting.columns import cast, decode_columns
from physgen.exporting.decoders import decode
from physgen.exporting.encoders import encode
from physgen.preprocessing import Preprocessor
from physgen.preprocessing.cloud import cast as cast_numpy
from physgen.random import PhiloxRandom
from physgen.schema import Field
from physgen.transforms import (
    Angle,
    Below,
    Binary,
    ByCategory,
    Categories,
    Constant,
    Count,
    EnergyFirst,
    Integer,
    Linear,
    Log,
    Logit,
    OneHot,
    Quantile,
    Spike,
    Standardize,
    Voxels,
)

N = 500


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=(N, *shape))


def whole(seed, low, high, *shape):
    return np.random.default_rng(seed).integers(low, high, size=(N, *shape)).astype(float)


def cells():
    energies = np.exp(3 * numbers(1, 3, 4))
    return np.where(energies < 0.5, 0.0, energies)


def cells3():
    energies = np.exp(5 + numbers(5))[:, None, None, None] * np.exp(2 * numbers(28, 3, 2, 5)) / 100
    showers = np.where(energies < 0.5, 0.0, energies)
    showers[:20] = 0
    return showers


OTHERS = {
    "phi": (numbers(2) % 6.28 - 3.14).astype(np.float32),
    "njet": whole(3, 0, 4).astype(np.int32),
    "pt": (20 + np.exp(numbers(4))).astype(np.float32),
    "energy": np.exp(5 + numbers(5)).astype(np.float32),
}
CASES = {
    "constant": (Constant(), np.full((N, 2), 3.0)),
    "linear": (Linear(), 5 + numbers(6)),
    "log": (Log(), np.exp(numbers(7))),
    "log of a negative tail": (Log(), -np.exp(numbers(7)) - 1),
    "log with a pole": (Log(pole=-2.0), np.exp(numbers(7))),
    "logit": (Logit(), np.tanh(numbers(8))),
    "standardize": (Standardize(), numbers(9, 2, 3)),
    "standardize a number": (Standardize(), numbers(9)),
    "standardize without folding": (Standardize(fold=False), numbers(9, 4)),
    "quantile": (Quantile(), numbers(10) ** 3),
    "quantile of two values": (Quantile(), np.sign(numbers(10))),
    "binary": (Binary(), np.sign(numbers(11, 4, 4))),
    "binary number": (Binary(), np.sign(numbers(11)) * 2),
    "categories": (Categories(), 11 + 2 * whole(12, 0, 3)),
    "one hot": (OneHot(), whole(13, 1, 4, 5)),
    "count": (Count(), whole(14, 0, 5)),
    "integer": (Integer(), whole(15, -3, 90)),
    "integer array": (Integer(), whole(16, 0, 17, 6)),
    "spike": (Spike(), np.where(numbers(17) > 0, 0.0, np.exp(numbers(18)))),
    "spike with a linear rest": (Spike(value=1.0), np.where(numbers(17) > 0, 1.0, numbers(18))),
    "angle": (Angle(), numbers(19) % 6.28 - 3.14),
    "angle from another": (Angle(reference="phi"), numbers(20) % 6.28 - 3.14),
    "angle in degrees": (Angle(low=0.0, period=360.0), numbers(20) % 360),
    "by category": (
        ByCategory("njet", min_events=20),
        np.where(OTHERS["njet"] == 0, 0.0, np.exp(numbers(21)) + 30 * OTHERS["njet"]),
    ),
    "normal scores by category": (ByCategory("njet", min_events=20, n_knots=16), numbers(21) ** 3),
    "below": (Below("pt"), OTHERS["pt"] - np.exp(numbers(22))),
    "voxels": (Voxels(), cells()),
    "showers": (EnergyFirst(scale="energy", angular=True), cells3()),
    "showers of Par04": (EnergyFirst(scale="energy", order=(2, 1, 0)), cells3()),
    "one layer, no scale": (EnergyFirst(), cells()),
    "layers of their own": (
        EnergyFirst(layers=((1, 5), (2, 10), (1, 5))),
        cells3().reshape(N, 30),
    ),
    "voxels of an energy": (Voxels(scale="energy"), cells()),
}


def as_tensors(columns):
    return {name: torch.from_numpy(values) for name, values in columns.items()}


@pytest.fixture(params=CASES, scope="module")
def case(request):
    transform, values = CASES[request.param]
    return transform.fit(values, OTHERS), values


def test_columns_from_features(case):
    transform, values = case
    features = transform.forward(values, OTHERS, PhiloxRandom(1, torch.arange(N)))
    wild = 3 * numbers(23, features.shape[1])  # beyond every edge, as of a model not yet trained
    for given in (features, wild):
        given = given.astype(np.float32).astype(np.float64)
        expected = transform.inverse(given, OTHERS)
        found = decode(transform, torch.from_numpy(given), as_tensors(OTHERS)).numpy()
        assert found.shape == expected.shape
        assert found.dtype == np.float64
        exact = isinstance(transform, Binary | Categories | OneHot | Count | Integer)
        tolerance = 0 if exact else 1e-6
        if isinstance(transform, EnergyFirst):
            # a voxel that is exactly the threshold stays or goes by the last bit of a sum
            same = np.isclose(found, expected, rtol=1e-6, atol=1e-6).reshape(N, -1).all(axis=1)
            assert same.mean() > 0.99
            continue
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_features_of_columns(case):
    transform, values = case
    if isinstance(transform, EnergyFirst):
        pytest.skip("no condition is an array")
    expected = transform.forward(values, OTHERS, PhiloxRandom(1, torch.arange(N)))
    found = encode(
        transform, torch.from_numpy(values), as_tensors(OTHERS), PhiloxRandom(1, torch.arange(N))
    ).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_a_wrong_constant_is_noticed():
    """The control: a transform with one digit changed does not pass the test above."""
    transform = Log().fit(np.exp(numbers(7)), {})
    other = dataclasses.replace(
        transform, inner=dataclasses.replace(transform.inner, mean=transform.inner.mean + 1e-4)
    )
    features = numbers(24, 1)
    found = decode(other, torch.from_numpy(features), {}).numpy()
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(found, transform.inverse(features, {}), rtol=1e-6, atol=1e-6)


def test_every_transform_has_a_case():
    kinds = {type(transform).__name__ for transform, _ in CASES.values()}
    from physgen.transforms import _KINDS

    assert kinds >= set(_KINDS)


def test_a_transform_of_the_users_own_is_refused():
    class Mine:
        pass

    with pytest.raises(TypeError, match="Mine cannot be exported"):
        decode(Mine(), torch.zeros(2, 1), {})
    with pytest.raises(TypeError, match="Mine cannot be exported"):
        encode(Mine(), torch.zeros(2), {}, PhiloxRandom(1, torch.arange(2)))


@pytest.mark.parametrize(
    "field",
    [
        Field("x", "int8"),
        Field("x", "uint8"),
        Field("x", "float32"),
        Field("x", "float16"),
        Field("x", "bool"),
        Field("x", "int64", allowed=(-1, 0, 5)),
        Field("x", "float32", allowed=(0.5, 1.5)),
    ],
)
def test_types_of_columns(field):
    values = np.concatenate((100 * numbers(25), [0.5, 1.5, 2.5, -0.5, 1.0]))
    expected = cast_numpy(values, field)
    found = cast(torch.from_numpy(values), field).numpy()
    assert found.dtype == expected.dtype
    # torch rounds doubles to float32 on their way to float16
    np.testing.assert_allclose(found, expected, rtol=1e-3 if field.dtype == "float16" else 0)


def padded(column, n_max):
    rows = np.zeros((len(column), n_max))
    for i, entries in enumerate(column.to_list()):
        rows[i, : len(entries)] = entries
    return rows


def compared(events, conditions):
    """Largest difference of each column between the preprocessor and its torch version."""
    events = pg.Events(events.schema.with_roles(conditions=conditions), events.to_dict())
    preprocessor = Preprocessor.fit(events)
    x = torch.randn(len(events), preprocessor.spec.n_features) * 2
    given = {n: events[n] for n in conditions}
    expected = preprocessor.inverse(x, given)
    found = decode_columns(preprocessor, x, as_tensors(given))
    differences = {}
    for name, values in expected.items():
        if name in conditions:
            continue
        made = found[name].numpy()
        if not isinstance(values, np.ndarray):
            values = padded(values, made.shape[1])
        scale = np.abs(values.astype(float)).max() or 1.0
        differences[name] = float(np.abs(made.astype(float) - values).max() / scale)
    return differences, found


def test_all_columns_of_a_file(zmumu):
    torch.manual_seed(1)
    differences, _ = compared(zmumu[:2000], ["njet"])
    assert set(differences) == set(zmumu.schema.names) - {"njet"}
    assert max(differences.values()) < 1e-6, differences


def test_jagged_columns_with_a_multiplicity_of_their_own(jets):
    torch.manual_seed(1)
    names = ["x", "Jet_pt", "Jet_eta"]
    part = pg.Events(jets.schema.select(names), {n: jets[n] for n in names})
    differences, found = compared(part, [])
    assert max(differences.values()) < 1e-6
    counts = found["n(Jet)"]
    entries = (found["Jet_pt"] != 0).sum(1)
    assert (entries == counts).all()
    assert (found["Jet_pt"].diff(dim=1) <= 0).all()


def test_ordered_columns_are_exchanged():
    low = np.exp(numbers(26))
    events = pg.Events.from_dict({"lead": low + np.exp(numbers(27)), "sub": low})
    torch.manual_seed(1)
    differences, found = compared(events, [])
    assert max(differences.values()) < 1e-12
    assert (found["lead"] >= found["sub"]).all()
