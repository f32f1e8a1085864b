"""Transforms: they undo themselves, and noise decodes to values inside the domain of the data."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from physgen.random import PhiloxRandom
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
    transform_from_dict,
    transform_to_dict,
)


def rng_of(n, seed=0):
    return PhiloxRandom(seed, torch.arange(n))


def there_and_back(transform, values, others=None, *, single=False):
    """Values after forward and inverse; features rounded to float32 on the way if asked."""
    others = others or {}
    features = transform.forward(values, others, rng_of(len(values)))
    assert features.shape == (len(values), len(transform.binary))
    if single:
        features = features.astype(np.float32).astype(np.float64)
    return transform.inverse(features, others)


def from_noise(transform, n=20_000, others=None, seed=0, width=1.5):
    """Values of arbitrary features, a little wider than the data's."""
    features = np.random.default_rng(seed).normal(0, width, (n, len(transform.binary)))
    return transform.inverse(features, others or {})


def floats(low, high, width=64, min_size=2):
    return hnp.arrays(
        np.float64 if width == 64 else np.float32,
        st.integers(min_size, 60),
        elements=st.floats(
            np.float32(low).item(), np.float32(high).item(), width=32, allow_subnormal=False
        ),
    )


def spread_of(values):
    return float(np.ptp(values)) or 1.0


# ---------------------------------------------------------------- round trips


@given(values=floats(-1e4, 1e4))
@pytest.mark.parametrize("kind", [Linear(), Log(), Logit(), Standardize(), Quantile()])
def test_continuous_round_trip(kind, values):
    assume(np.ptp(values) > 1e-3)
    fitted = kind.fit(values, {})
    back = there_and_back(fitted, values)
    # the normal score of repeated values has one knot per value, so it is exact there, too
    np.testing.assert_allclose(back, values, rtol=1e-9, atol=1e-9 * spread_of(values))
    single = there_and_back(fitted, values, single=True)
    np.testing.assert_allclose(single, values, rtol=1e-6, atol=1e-5 * spread_of(values))


@given(values=floats(0.5, 1e6))
def test_log_with_a_pole_keeps_relative_precision(values):
    fitted = Log(pole=0.0).fit(values, {})
    back = there_and_back(fitted, values, single=True)
    np.testing.assert_allclose(back, values, rtol=1e-5)


@given(values=hnp.arrays(np.float64, st.tuples(st.integers(2, 20), st.just(2), st.just(3))))
def test_standardize_keeps_shapes(values):
    values = np.nan_to_num(np.clip(values, -1e6, 1e6))
    back = there_and_back(Standardize().fit(values, {}), values)
    assert back.shape == values.shape
    np.testing.assert_allclose(back, values, atol=1e-6 * (1 + np.abs(values).max()))


@given(
    values=hnp.arrays(np.int64, st.integers(2, 60), elements=st.integers(-500, 500)),
    seed=st.integers(0, 2**32),
)
def test_integers_come_back_exactly(values, seed):
    fitted = Integer().fit(values, {})
    features = fitted.forward(values, {}, rng_of(len(values), seed)).astype(np.float32)
    assert (fitted.inverse(features.astype(np.float64), {}) == values).all()


@given(values=hnp.arrays(np.int64, st.integers(2, 60), elements=st.integers(-30, 30)))
def test_counts_come_back_exactly(values):
    assert (there_and_back(Count().fit(values, {}), values, single=True) == values).all()


def test_noise_in_counts_has_no_holes_and_keeps_its_ends():
    """Each count gets what lies nearest; what lies beyond the ends belongs to them."""
    counts = np.random.default_rng(0).poisson(2, 5000)
    fitted = Count().fit(counts, {})
    exact = fitted.forward(counts, {}, rng_of(5000))
    jitter = np.random.default_rng(1).uniform(-0.49, 0.49, exact.shape) / fitted.inner.std
    assert (fitted.inverse(exact + jitter, {}) == counts).all()
    made = from_noise(fitted, width=10)
    assert set(made) == set(range(counts.max() + 1))


def test_many_integers_come_back_exactly():
    """A steep map and many draws: rounding to float32 must not reach the next integer."""
    values = np.random.default_rng(1).integers(0, 5000, 300_000)
    assert (there_and_back(Integer().fit(values, {}), values, single=True) == values).all()


@given(
    pixels=hnp.arrays(np.uint8, st.tuples(st.integers(2, 20), st.just(3), st.just(3))),
    seed=st.integers(0, 2**32),
)
def test_pixels_come_back_exactly(pixels, seed):
    fitted = Integer().fit(pixels, {})
    features = fitted.forward(pixels, {}, rng_of(len(pixels), seed)).astype(np.float32)
    assert (fitted.inverse(features.astype(np.float64), {}) == pixels).all()


def test_dark_pixels_stay_calm_beside_bright_ones():
    pixels = np.zeros((500, 4, 4), np.uint8)
    pixels[:, 1:3, 1:3] = np.random.default_rng(3).integers(0, 256, (500, 2, 2))
    fitted = Integer().fit(pixels, {})
    features = fitted.forward(pixels, {}, PhiloxRandom(0, torch.arange(500)))
    features = features.reshape(500, 4, 4)
    assert features[:, 0].std() < 0.01
    assert abs(features.std() - 1) < 0.01
    assert abs(features.mean()) < 0.01
    assert features[:, 1, 1].std() > 1
    # entries of a row, such as counts of several kinds, keep a scale each
    rows = np.stack((pixels[:, 1, 1], np.arange(500) % 7), axis=1)
    alone = Integer().fit(rows, {}).forward(rows, {}, PhiloxRandom(0, torch.arange(500)))
    assert np.allclose(alone.std(0), 1, atol=0.05)


@given(
    spins=hnp.arrays(
        np.int8, st.tuples(st.integers(1, 20), st.just(4)), elements=st.sampled_from([-1, 1])
    )
)
def test_spins_come_back_exactly(spins):
    fitted = Binary().fit(spins, {})
    features = fitted.forward(spins, {}, rng_of(len(spins)))
    assert (np.abs(features) == 1).all()
    assert (fitted.inverse(features, {}) == spins).all()
    assert fitted.binary == (True,) * 4


@given(values=hnp.arrays(np.float32, st.integers(1, 60), elements=st.sampled_from([0.5, 2, 7])))
def test_categories_come_back_exactly(values):
    fitted = Categories().fit(values, {})
    features = fitted.forward(values, {}, rng_of(len(values)))
    assert ((features > 0.5).sum(axis=1) == 1).all()
    assert (np.abs(np.abs(features) - 1) <= 0.4).all()
    assert (fitted.inverse(features, {}) == values).all()


@given(values=hnp.arrays(np.float32, st.integers(1, 5), elements=st.just(np.float32(0.1))))
def test_a_constant_comes_back_exactly(values):
    fitted = Constant().fit(values, {})
    assert fitted.binary == ()
    assert (there_and_back(fitted, values).astype(np.float32) == values).all()


@given(rest=floats(-100, 100, width=32), data=st.data())
def test_the_spike_comes_back_exactly(rest, data):
    at_spike = data.draw(hnp.arrays(bool, len(rest)))
    rest = np.where(np.abs(rest) < 1e-3, 1.0, rest)
    values = np.where(at_spike, 0.0, rest)
    assume((~at_spike).any())
    fitted = Spike(0.0).fit(values, {})
    back = there_and_back(fitted, values, single=True)
    assert (back[at_spike] == 0).all()
    np.testing.assert_allclose(back, values, rtol=1e-6, atol=1e-5 * spread_of(values))


@given(
    phi=hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-10, 10)),
    reference=st.floats(-10, 10),
    low=st.sampled_from([-np.pi, 0.0]),
)
def test_angles_come_back_modulo_the_period(phi, reference, low):
    others = {"psi": np.full(len(phi), reference)}
    for angle in (Angle(low=low), Angle("psi", low=low), Angle("psi", -180.0, 360.0)):
        back = there_and_back(angle.fit(phi, others), phi, others, single=True)
        off = (back - phi) / angle.period
        np.testing.assert_allclose(off, np.rint(off), atol=4e-7)


@given(data=st.data(), n=st.integers(2, 60))
def test_by_category_round_trip(data, n):
    njet = data.draw(hnp.arrays(np.int32, n, elements=st.integers(0, 3)))
    ht = data.draw(hnp.arrays(np.float32, n, elements=st.floats(20, 1000, width=32)))
    ht = np.where(njet == 0, 0, ht)
    for min_events in (1, 5):
        fitted = ByCategory("njet", min_events=min_events).fit(ht, {"njet": njet})
        back = there_and_back(fitted, ht, {"njet": njet}, single=True)
        np.testing.assert_allclose(back, ht, rtol=1e-5, atol=1e-5 * spread_of(ht))
        # categories with fewer events than min_events share a scale, and no zero is promised
        if min_events == 1:
            assert ((back == 0) == (ht == 0)).all()


@given(data=st.data(), n=st.integers(2, 60))
def test_below_round_trip(data, n):
    low, high = (
        data.draw(hnp.arrays(np.float32, n, elements=st.floats(10, 500, width=32))) for _ in "ab"
    )
    low, high = np.minimum(low, high), np.maximum(low, high)
    fitted = Below("high").fit(low, {"high": high})
    back = there_and_back(fitted, low, {"high": high}, single=True)
    np.testing.assert_allclose(back, low, rtol=1e-5, atol=1e-5 * spread_of(low))


@given(data=st.data(), n=st.integers(2, 20), scaled=st.booleans())
def test_voxels_round_trip(data, n, scaled):
    energies = data.draw(
        hnp.arrays(np.float32, (n, 5), elements=st.just(0.0) | st.floats(0.015625, 1e4, width=32))
    )
    assume((energies > 0).any())
    others = {"E": data.draw(hnp.arrays(np.float32, n, elements=st.floats(100, 1e5, width=32)))}
    fitted = Voxels("E" if scaled else "").fit(energies, others)
    back = there_and_back(fitted, energies, others, single=True)
    assert ((back == 0) == (energies == 0)).all()
    np.testing.assert_allclose(back, energies, rtol=1e-4)


# ---------------------------------------------------------------- noise stays in the domain


def data_of(kind, n=5000, seed=3):
    rng = np.random.default_rng(seed)
    return {
        "falling": 10 + rng.exponential(20, n),
        "rising": 100 - rng.exponential(20, n),
        "flat": rng.uniform(-3, 5, n),
    }[kind]


@pytest.mark.parametrize("kind", ["falling", "rising", "flat"])
@pytest.mark.parametrize("transform", [Linear(), Log(), Quantile(), Below("up")])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_noise_stays_between_the_smallest_and_the_largest_value(kind, transform, dtype):
    values = data_of(kind).astype(dtype)
    others = {"up": np.full(5000, np.inf)}
    made = from_noise(transform.fit(values, others), n=5000, others=others).astype(dtype)
    assert made.min() >= values.min()
    assert made.max() <= values.max()
    assert len(np.unique(made)) > 2000


def test_noise_in_logit_stays_between_the_bounds():
    values = np.random.default_rng(0).uniform(0.1, 0.9, 1000)
    made = from_noise(Logit(0.0, 1.0).fit(values, {}), width=50)
    assert made.min() >= 0
    assert made.max() <= 1


def test_noise_in_integers_is_integer_and_in_range():
    values = np.random.default_rng(0).poisson(30, 1000)
    made = from_noise(Integer().fit(values, {}))
    assert set(made) <= set(range(values.min(), values.max() + 1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("low", "period"), [(-np.pi, 2 * np.pi), (0.0, 2 * np.pi), (-180.0, 360.0), (0.0, 360.0)]
)
def test_noise_in_angles_stays_in_the_half_open_range(low, period, dtype):
    turns = np.concatenate((np.random.default_rng(0).normal(size=5000), [0, 0.5, -0.5, 1, 1e-18]))
    for reference in (0.0, low, low + period, np.float32(low + period)):
        features = np.stack((np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)), axis=1)
        features[-1] = -1.0, -1e-17  # just below the seam
        angle = Angle("ref", low, period)
        made = angle.inverse(features, {"ref": np.full(len(turns), reference)}).astype(dtype)
        assert made.min() >= low
        assert made.max() < low + period


def test_noise_below_another_column_stays_below_after_rounding():
    rng = np.random.default_rng(0)
    high = (10 + rng.exponential(20, 20_000)).astype(np.float32)
    low = np.minimum(high, 10 + rng.exponential(20, 20_000)).astype(np.float32)
    made = from_noise(Below("high").fit(low, {"high": high}), others={"high": high})
    made = made.astype(np.float32)
    assert (made <= high).all()
    assert made.min() >= low.min()


def test_below_a_column_with_a_tail_to_the_left():
    """Noise spreads over the range; a wrong lower edge would put all of it onto the upper one."""
    rng = np.random.default_rng(0)
    high = 100 - rng.exponential(10, 20_000)
    low = high - rng.exponential(5, 20_000)
    fitted = Below("high").fit(low, {"high": high})
    assert isinstance(fitted.inner, Log)
    assert fitted.inner.sign == -1
    made = from_noise(fitted, others={"high": high}, width=1.0)
    assert np.mean(made == high) < 0.01
    # noise is not the law of the data: reflected at the upper column, it shifts somewhat
    assert abs(np.median(made) - np.median(low)) < 10


def test_noise_in_voxels_is_zero_or_above_the_threshold():
    rng = np.random.default_rng(0)
    energies = np.where(rng.random((2000, 6)) < 0.5, 0, 0.015 + rng.exponential(3, (2000, 6)))
    energies = energies.astype(np.float32)
    others = {"E": rng.uniform(10, 1000, 2000).astype(np.float32)}
    made = from_noise(Voxels("E").fit(energies, others), n=2000, others=others).astype(np.float32)
    assert made[made > 0].min() >= energies[energies > 0].min()
    assert 0.1 < np.mean(made == 0) < 0.9
    assert np.isfinite(made).all()


def test_noise_in_voxels_is_not_above_the_largest_energy():
    rng = np.random.default_rng(0)
    energies = np.where(rng.random((2000, 6)) < 0.5, 0, 0.015 + rng.exponential(3, (2000, 6)))
    made = from_noise(Voxels().fit(energies, {}), n=2000, width=20.0)
    assert made.max() == pytest.approx(energies.max())


def test_noise_keeps_ht_and_njet_together():
    rng = np.random.default_rng(0)
    njet = rng.poisson(1.0, 20_000)
    ht = np.where(njet == 0, 0, 20 * njet + rng.exponential(30, 20_000)).astype(np.float32)
    fitted = ByCategory("njet").fit(ht, {"njet": njet})
    other = rng.integers(0, 12, 20_000)  # some never seen
    made = from_noise(fitted, others={"njet": other}).astype(np.float32)
    assert ((made == 0) == (other == 0)).all()
    for n in range(1, 4):
        assert made[other == n].min() >= ht[njet == n].min()


def test_noise_in_discrete_columns_is_one_of_their_values():
    assert set(from_noise(Binary((0.0, 3.0)))) == {0.0, 3.0}
    assert set(from_noise(Categories((1.0, 2.0, 5.0)))) == {1.0, 2.0, 5.0}
    made = from_noise(Spike(0.0).fit(np.array([0.0, 5.0, 6.0, 9.0, 20.0]), {}))
    assert set(made[made < 5]) == {0.0}
    assert 0.4 < np.mean(made == 0) < 0.6


# ---------------------------------------------------------------- shape of what comes out


def generated(transform, values, seed=1, noise=0.05):
    """What a good model with a little noise of its own makes of the values."""
    features = transform.forward(values, {}, rng_of(len(values)))
    jitter = np.random.default_rng(seed).normal(0, noise, features.shape)
    return transform.inverse(features + jitter, {})


def test_no_seam_shows_at_pi():
    """An angle peaked at pi: near the seam as smooth as an angle peaked at 0; Linear is not."""
    rng = np.random.default_rng(0)
    around_zero = rng.normal(0, 0.3, 100_000)
    at_seam = np.mod(around_zero + 2 * np.pi, 2 * np.pi) - np.pi

    def distance_from_seam(made):
        return np.mod(made + 2 * np.pi, 2 * np.pi) - np.pi

    made = distance_from_seam(generated(Angle(), at_seam))
    reference = generated(Angle(), around_zero, seed=2)
    assert stats.ks_2samp(made, reference).pvalue > 1e-3
    control = distance_from_seam(generated(Linear().fit(at_seam, {}), at_seam))
    assert stats.ks_2samp(control, reference).pvalue < 1e-9


def test_an_edge_stays_sharp():
    """Folding keeps a uniform density uniform at its edges; clipping piles up there."""
    values = np.random.default_rng(0).uniform(2, 3, 20_000)
    linear = Linear().fit(values, {})
    made = generated(linear, values, noise=0.2)
    assert stats.kstest(made, stats.uniform(2, 1).cdf).pvalue > 1e-3
    features = linear.forward(values, {}, rng_of(len(values)))[:, 0]
    jitter = np.random.default_rng(1).normal(0, 0.2, len(features))
    clipped = np.clip((features + jitter) * linear.std + linear.mean, 2, 3)
    assert stats.kstest(clipped, stats.uniform(2, 1).cdf).pvalue < 1e-9


def test_quantile_makes_a_normal_of_anything():
    values = np.random.default_rng(0).standard_cauchy(20_000)
    fitted = Quantile().fit(values, {})
    scores = fitted.forward(values, {}, rng_of(len(values)))[:, 0]
    assert stats.kstest(scores, stats.norm.cdf).pvalue > 1e-3
    new = fitted.inverse(np.random.default_rng(1).normal(size=(20_000, 1)), {})
    assert stats.ks_2samp(new, values).pvalue > 1e-3


def test_integers_of_a_perfect_model_have_the_law_of_the_data():
    values = np.random.default_rng(0).poisson(20, 50_000)
    fitted = Integer().fit(values, {})
    made = fitted.inverse(np.random.default_rng(1).normal(size=(50_000, 1)), {})
    counts = [np.bincount(x.astype(int), minlength=60)[8:34] for x in (made, values)]
    assert stats.chi2_contingency(np.array(counts)).pvalue > 1e-3


@pytest.mark.parametrize(
    "transform", [Linear(), Log(), Logit(), Quantile(), Standardize(), Spike(10.5)]
)
def test_features_have_mean_0_and_variance_1(transform):
    values = data_of("falling")
    features = transform.fit(values, {}).forward(values, {}, rng_of(len(values)))[:, -1]
    assert abs(features.mean()) < 0.05
    assert abs(features.std() - 1) < 0.05


def test_log_takes_the_natural_pole_of_a_log_normal_column():
    assert Log().fit(np.random.default_rng(0).lognormal(3, 0.5, 5000), {}).pole == 0


def test_log_without_a_natural_pole_has_no_skewness():
    values = -5 + np.random.default_rng(0).lognormal(0, 0.6, 5000)
    for x in (values, -values):
        fitted = Log().fit(x, {})
        features = fitted.forward(x, {}, rng_of(len(x)))
        assert abs(stats.skew(features[:, 0])) < 0.1


def test_the_pole_stays_at_a_distance_from_the_data():
    """Where no pole takes the skewness away it is a thousandth of the spread below them."""
    values = np.exp(4 * np.random.default_rng(0).normal(size=5000)) - 5
    assert Log().fit(values, {}).pole == pytest.approx(values.min() - 1e-3 * values.std())


def test_by_category_shares_the_scale_of_rare_values():
    njet = np.repeat([0, 1, 2, 3, 4], [500, 500, 500, 150, 3])
    ht = np.where(njet == 0, 0, 20.0 * njet + np.random.default_rng(0).random(len(njet)))
    fitted = ByCategory("njet").fit(ht, {"njet": njet})
    assert fitted.edges == (0.5, 1.5)
    assert isinstance(fitted.parts[0], Constant)
    assert ByCategory("njet", 100).fit(ht, {"njet": njet}).edges == (0.5, 1.5, 2.5)


def test_by_category_with_a_normal_score_for_each_value():
    rng = np.random.default_rng(0)
    place = np.repeat([0, 1], 4000)
    ratio = np.where(place == 0, rng.beta(8, 1, 8000), rng.exponential(0.1, 8000))
    given = {"place": place}
    for n_knots, normal in ((64, True), (0, False)):
        fitted = ByCategory("place", n_knots=n_knots).fit(ratio, given)
        features = fitted.forward(ratio, given, rng_of(8000))
        assert np.abs(fitted.inverse(features, given) - ratio).max() < 1e-12
        p_values = [stats.kstest(features[place == k, 0], "norm").pvalue for k in (0, 1)]
        assert (min(p_values) > 0.01) == normal


# ---------------------------------------------------------------- refusals and storage


@pytest.mark.parametrize(
    ("transform", "values", "message"),
    [
        (Log(pole=5.0), [4.0, 6.0], "needs values above the pole, but the smallest is 4"),
        (Logit(0.0, 1.0), [0.0, 0.5], "needs values strictly between its bounds.*widen"),
        (Binary(), [1, 2, 3], "needs two values, but the column has 3"),
        (Voxels(), [[-1.0, 1.0]], "needs energies >= 0 with some above 0; use Standardize"),
        (Voxels(), [[0.0, 0.0]], "needs energies >= 0 with some above 0"),
        (Spike(0.0), [0.0, 0.0], "needs other values beside the spike"),
    ],
)
def test_columns_that_a_transform_refuses(transform, values, message):
    with pytest.raises(ValueError, match=message):
        transform.fit(np.array(values), {})


FITTED = [
    Constant().fit(np.full((3, 2), 4.0), {}),
    Standardize().fit(np.random.default_rng(0).normal(size=(5, 2, 2)), {}),
    Quantile(8).fit(data_of("falling"), {}),
    Linear().fit(data_of("flat"), {}),
    Log().fit(data_of("rising"), {}),
    Logit().fit(data_of("flat"), {}),
    Binary().fit(np.array([[0, 1], [1, 1]]), {}),
    Categories().fit(np.array([1, 5, 7]), {}),
    Count().fit(np.array([0, 1, 1, 3]), {}),
    Integer().fit(np.arange(50), {}),
    OneHot().fit(np.array([[0, 2], [1, 1]]), {}),
    Spike(0.0).fit(np.array([0.0, 1.0, 2.0]), {}),
    Angle("psi", 0.0, 360.0),
    ByCategory("n", 1).fit(np.array([0.0, 0.0, 1.0, 2.0]), {"n": np.array([0, 0, 1, 1])}),
    ByCategory("n", 1, n_knots=4).fit(np.arange(4.0), {"n": np.array([0, 0, 1, 1])}),
    Below("up").fit(data_of("falling"), {}),
    Voxels("E").fit(np.array([[0.0, 1.0], [2.0, 3.0]]), {"E": np.array([3.0, 9.0])}),
    EnergyFirst("E", ((1, 2),)).fit(np.array([[0.0, 1.0], [2.0, 3.0]]), {"E": np.ones(2)}),
]


@pytest.mark.parametrize("transform", FITTED, ids=lambda t: type(t).__name__)
def test_json_round_trip_is_exact(transform):
    text = json.dumps(transform_to_dict(transform))
    assert transform_from_dict(json.loads(text)) == transform


def test_all_kinds_are_stored():
    import physgen.transforms as module

    kinds = {n for n in module.__all__ if isinstance(getattr(module, n), type)}
    assert {type(t).__name__ for t in FITTED} == kinds - {"Transform"}


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="unknown transform 'Warp'"):
        transform_from_dict({"kind": "Warp"})
    with pytest.raises(TypeError, match="speed"):
        transform_from_dict({"kind": "Linear", "speed": 3})


def test_what_a_transform_needs_and_makes():
    assert Angle("psi").needs == ("psi",)
    assert Angle().needs == ()
    assert Voxels("E").needs == ("E",)
    assert Below("up").needs == ("up",)
    assert ByCategory("n").needs == ("n",)
    assert replace(Spike(), inner=Log()).binary == (True, False)
    assert Categories((1.0, 2.0, 3.0)).binary == (False, False, False)


@pytest.mark.parametrize("seen", [(-2, 0, 2), (-3, -2, -1, 1, 2, 3), (0, 1, 2, 3, 5)])
def test_counts_come_back_as_values_that_were_seen(seen):
    values = np.random.default_rng(0).choice(seen, 500)
    fitted = Count().fit(values, {})
    assert (fitted.inverse(fitted.forward(values, {}, rng_of(500)), {}) == values).all()
    noise = np.random.default_rng(1).normal(size=(5000, 1)) * 2
    assert set(fitted.inverse(noise, {})) == set(seen)


def test_standardize_folds_each_entry_into_its_own_range():
    values = np.random.default_rng(0).exponential(size=(1000, 2)) * (1, 10) + (20, 0)
    fitted = Standardize().fit(values, {})
    made = fitted.inverse(np.random.default_rng(1).normal(size=(5000, 2)), {})
    assert (made >= values.min(axis=0)).all()
    assert (made <= values.max(axis=0)).all()
    # nothing piles up at the edge, as clipping would make it
    assert len(np.unique(made[:, 0])) == len(made)
    # negative control
    free = replace(fitted, fold=False).inverse(np.random.default_rng(1).normal(size=(5000, 2)), {})
    assert free.min() < 0
