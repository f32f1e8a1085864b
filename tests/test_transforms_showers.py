"""EnergyFirst: showers come back exactly, and noise decodes to showers that add up."""

import itertools

import numpy as np
import pytest
import torch

from physgen.random import PhiloxRandom
from physgen.transforms import EnergyFirst

N = 2000


def showers_of(layers, n=N, seed=0, threshold=0.015, scale=0.1):
    """Showers with a share of zeros, empty layers and events without energy, float32."""
    rng = np.random.default_rng(seed)
    incident = np.exp(rng.uniform(0, 4, n))
    n_voxels = sum(a * r for a, r in layers)
    profile = rng.exponential(size=n_voxels)
    e = scale * incident[:, None] * profile * rng.gamma(0.5, 1.0, (n, n_voxels))
    e[rng.random((n, n_voxels)) < 0.3] = 0.0
    stops = np.cumsum([a * r for a, r in layers])
    for k, stop in enumerate(stops):
        e[k::7, stop - layers[k][0] * layers[k][1] : stop] = 0.0
    e[5] = 0.0
    e[6] = 0.0
    e[6, n_voxels // 2] = 1.0
    e[e < threshold] = 0.0
    return e.astype(np.float32), {"E": incident}


def there_and_back(transform, values, others):
    """Values after forward, a rounding to float32, and inverse."""
    features = transform.forward(values, others, PhiloxRandom(0, torch.arange(len(values))))
    assert features.shape == (len(values), len(transform.binary))
    return transform.inverse(features.astype(np.float32).astype(np.float64), others)


def sums(voxels, layers):
    edges = np.cumsum([0, *(a * r for a, r in layers)])
    flat = voxels.reshape(len(voxels), -1).astype(np.float64)
    return np.stack([flat[:, a:b].sum(axis=1) for a, b in itertools.pairwise(edges)], axis=1)


REGULAR = ((4, 3),) * 5
RAGGED = ((1, 8), (6, 4), (1, 1), (3, 2))
CASES = [
    pytest.param(EnergyFirst("E", REGULAR, angular=True), REGULAR, id="rings"),
    pytest.param(EnergyFirst("E", RAGGED, angular=True), RAGGED, id="ragged"),
    pytest.param(EnergyFirst("E", REGULAR), REGULAR, id="no symmetry"),
    pytest.param(EnergyFirst("", REGULAR, angular=True), REGULAR, id="no condition"),
    pytest.param(EnergyFirst("E"), ((1, 30),), id="flat"),
    pytest.param(EnergyFirst("E"), ((1, 1),), id="one voxel"),
]


@pytest.mark.parametrize(("transform", "layers"), CASES)
def test_showers_come_back(transform, layers):
    values, others = showers_of(layers)
    fitted = transform.fit(values, others)
    back = there_and_back(fitted, values, others)
    assert ((back > 0) == (values > 0)).all()
    np.testing.assert_allclose(back, values, rtol=1e-4)
    np.testing.assert_allclose(sums(back, layers), sums(values, layers), rtol=2e-5)
    # events that it did not see come back, too, and are not cut off
    largest = (values.sum(axis=1) / (others["E"] if transform.scale else 1)).max()
    new, others = showers_of(layers, seed=1)
    inside = new.sum(axis=1) / (others["E"] if transform.scale else 1) < largest
    back = there_and_back(fitted, new, others)
    kept = np.where(new >= fitted.threshold, new, 0.0)
    np.testing.assert_allclose(back[inside], kept[inside], rtol=1e-4)


@pytest.mark.parametrize(("transform", "layers"), CASES)
@pytest.mark.parametrize("width", [0.0, 1.0, 3.0, 100.0])
def test_noise_decodes_to_showers_that_add_up(transform, layers, width):
    values, others = showers_of(layers)
    fitted = transform.fit(values, others)
    shape = (N, len(fitted.binary))
    features = width * np.random.default_rng(3).standard_normal(shape)
    made = fitted.inverse(features, others)
    assert np.isfinite(made).all()
    single = made.astype(np.float32)
    assert ((single == 0) | (single >= np.float32(fitted.threshold))).all()
    # energies do not depend on the shape: with any other one they are the same
    other = features.copy()
    other[:, fitted.n_first :] = np.random.default_rng(4).standard_normal(
        (N, shape[1] - fitted.n_first)
    )
    again = fitted.inverse(other, others).astype(np.float32)
    np.testing.assert_allclose(sums(single, layers), sums(again, layers), rtol=1e-5)
    # and the sum does not depend on how the layers share it
    other[:, 1:] = 0.5 * features[:, 1:]
    total = fitted.inverse(other, others).sum(axis=1)
    np.testing.assert_allclose(total, made.sum(axis=1), rtol=2e-5)
    if transform.scale:
        ratio = made.sum(axis=1) / others["E"]
        assert ratio.max() <= (values.sum(axis=1) / others["E"]).max() * 1.0001


def test_the_first_feature_is_the_ratio():
    """Standardized at any energy, and moved by one step it moves the response by its width."""
    rng = np.random.default_rng(0)
    incident = np.exp(rng.uniform(0, 4, 20_000))
    ratio = 0.9 + 0.1 / np.sqrt(incident) * rng.standard_normal(20_000)
    parts = rng.dirichlet(np.ones(12), 20_000)
    values, others = parts * (ratio * incident)[:, None], {"E": incident}
    fitted = EnergyFirst("E", ((2, 2),) * 3).fit(values, others)
    features = fitted.forward(values, others, PhiloxRandom(0, torch.arange(20_000)))
    for low in (1, 3, 10, 30):
        inside = features[(incident > low) & (incident < 1.3 * low), 0]
        assert abs(inside.mean()) < 0.15
        assert abs(inside.std() - 1) < 0.15
    features[:, 0] += 1
    moved = fitted.inverse(features, others).sum(axis=1) / incident - ratio
    below = ratio + moved < 0.99 * ratio.max()  # none comes out above the largest ratio seen
    np.testing.assert_allclose(moved[below], (0.1 / np.sqrt(incident))[below], rtol=0.3)


def test_features_are_standard_and_symmetric():
    values, others = showers_of(REGULAR, 4000)
    fitted = EnergyFirst("E", REGULAR, angular=True).fit(values, others)
    features = fitted.forward(values, others, PhiloxRandom(0, torch.arange(4000)))
    assert np.abs(features.mean(axis=0)).max() < 1
    assert features.std() == pytest.approx(1, abs=0.2)
    turned = np.roll(values.reshape(-1, 5, 4, 3), 1, axis=2).reshape(values.shape)
    rng = PhiloxRandom(0, torch.arange(4000))
    shape = fitted.forward(turned, others, rng)[:, fitted.n_first :].reshape(-1, 5, 4, 3)
    back = np.roll(shape, -1, axis=2).reshape(values.shape)
    above = values > 0  # zeros are drawn anew
    difference = np.abs(back - features[:, fitted.n_first :])
    assert difference[above].max() < 1e-9
    # a control: with a trend for every voxel, turning a shower changes its features
    single = EnergyFirst("E", REGULAR).fit(values, others)
    one, two = (
        single.forward(v, others, PhiloxRandom(0, torch.arange(4000))) for v in (values, turned)
    )
    back = np.roll(two[:, single.n_first :].reshape(-1, 5, 4, 3), -1, axis=2).reshape(values.shape)
    assert np.abs(back - one[:, single.n_first :])[above].max() > 0.1


@pytest.mark.parametrize(
    ("transform", "shape", "n_first", "stage", "periodic"),
    [
        (EnergyFirst("E", REGULAR, angular=True), (60,), 6, (5, 4, 3), (False, True, False)),
        (EnergyFirst("E", RAGGED, angular=True), (39,), 5, (), ()),
        (EnergyFirst("E"), (5, 4, 3), 6, (5, 4, 3), (False,) * 3),
        (EnergyFirst("E"), (4, 3), 1, (4, 3), (False,) * 2),
        (EnergyFirst("E"), (12,), 1, (), ()),
        (
            EnergyFirst("E", REGULAR, order=(2, 1, 0), angular=True),
            (3, 4, 5),
            6,
            (5, 4, 3),
            (False, True, False),
        ),
    ],
)
def test_stages(transform, shape, n_first, stage, periodic):
    flat, others = showers_of(((1, int(np.prod(shape))),), 300)
    values = flat.reshape(300, *shape)
    fitted = transform.fit(values, others)
    assert fitted.n_first == n_first
    assert fitted.stage_shape == stage
    assert fitted.periodic == periodic
    back = there_and_back(fitted, values, others)
    assert back.shape == values.shape
    np.testing.assert_allclose(back, values, rtol=1e-4)


def test_axes_in_another_order_are_the_same_showers():
    values, others = showers_of(REGULAR, 300)
    par04 = values.reshape(300, 5, 4, 3).transpose(0, 3, 2, 1)
    straight = EnergyFirst("E", REGULAR, angular=True).fit(values, others)
    turned = EnergyFirst("E", REGULAR, (2, 1, 0), True).fit(par04, others)
    draws = [PhiloxRandom(0, torch.arange(300)) for _ in range(2)]
    one = straight.forward(values, others, draws[0])
    np.testing.assert_array_equal(one, turned.forward(par04, others, draws[1]))


def test_extreme_samples_are_fitted():
    everything = {"E": np.full(4, 2.0)}
    for values in (np.full((4, 6), 3.0), np.eye(6)[:4], np.zeros((4, 6)) + np.eye(6)[0]):
        for layers in ((), ((1, 2),) * 3, ((1, 1),) * 6):
            fitted = EnergyFirst("E", layers).fit(values, everything)
            np.testing.assert_allclose(
                there_and_back(fitted, values, everything), values, rtol=1e-5
            )


@pytest.mark.parametrize(
    ("transform", "values", "message"),
    [
        (EnergyFirst(), [[-1.0, 1.0]], "needs energies >= 0 with some above 0; use Standardize"),
        (EnergyFirst(), [[0.0, 0.0]], "needs energies >= 0 with some above 0"),
        (EnergyFirst("E"), [[0.0, 1.0]], "needs a condition 'E' above 0"),
        (EnergyFirst("", ((2, 2),)), [[0.0, 1.0]], "have 4 voxels, but the showers 2"),
    ],
)
def test_what_is_refused(transform, values, message):
    with pytest.raises(ValueError, match=message):
        transform.fit(np.array(values), {"E": np.zeros(1)})


def test_a_sum_at_the_threshold_survives_float32():
    """One cell of the smallest energy in an event whose sum is far below the others."""
    rng = np.random.default_rng(0)
    cells = np.maximum(rng.normal(size=(602, 3)), 0)
    energy = rng.uniform(1, 100, 602)
    cells[5] = [0.0, cells[cells > 0].min() / 2, 0.0]
    fitted = EnergyFirst("energy").fit(cells, {"energy": energy})
    noise = PhiloxRandom(0, torch.arange(602))
    features = fitted.forward(cells, {"energy": energy}, noise).astype(np.float32)
    found = fitted.inverse(features.astype(np.float64), {"energy": energy})
    assert np.array_equal(found > 0, cells > 0)
