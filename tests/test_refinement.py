"""Refinement: weights against exact density ratios, and nothing where there is nothing to do."""

import math

import awkward as ak
import numpy as np
import pytest

import physgen as pg
from physgen.cli import main
from physgen.feature_table import FeatureTable
from physgen.field_columns import columns_of
from physgen.metrics.resampling import effective_size
from physgen.refinement import refine
from physgen.unweighting import unweight

N = 10_000
SHIFT = 0.5


def normal(seed, n=N, shift=0.0, **more):
    x = np.random.default_rng(seed).normal(size=n) + shift
    return pg.Events.from_dict({"x": x, **{name: value(x) for name, value in more.items()}})


def exact_ratio(x, shift=SHIFT):
    """N(0, 1) over N(shift, 1)."""
    return np.exp(-shift * x + shift**2 / 2)


def pull(values, weights, mean):
    """Distance of a weighted mean from the exact one, in its standard errors."""
    found = np.average(values, weights=weights)
    error = math.sqrt(np.sum(np.square(weights * (values - found)))) / weights.sum()
    return (found - mean) / error


def weighted(events, weights, name="w"):
    return events.with_columns({name: weights}, role="weight")


@pytest.fixture(scope="module")
def refinement():
    return refine(normal(0), normal(1, shift=SHIFT), rng=1)


@pytest.fixture(scope="module")
def new(refinement):
    """Events that it has not seen, weighted."""
    return refinement(normal(2, shift=SHIFT))


# ---------------------------------------------------------------- against exact ratios


def test_weights_are_the_ratio_of_the_densities(refinement, new):
    for events, bound in ((refinement.events, 0.15), (new, 0.12)):
        exact = exact_ratio(events["x"])
        assert np.sqrt(np.mean((events.weights - exact) ** 2)) < bound
        # the control: without a refinement, and with that of the wrong direction
        assert np.sqrt(np.mean((1 - exact) ** 2)) > 3 * bound
        assert np.sqrt(np.mean((1 / events.weights - exact) ** 2)) > 3 * bound
        assert np.average(events.weights) == pytest.approx(1, abs=0.03)


def test_effective_size_has_its_closed_form(refinement, new):
    """E[w^2] = exp(shift^2) for a shift of a Gaussian."""
    for found in (refinement.n_effective, effective_size(new.weights)):
        assert found / N == pytest.approx(math.exp(-(SHIFT**2)), abs=0.03)


def test_an_observable_gets_the_mean_of_the_truth(new):
    x, w = new["x"], new.weights
    # the classifier's own error adds to the statistical one
    assert abs(pull(x, w, 0.0)) < 6
    assert abs(pull(np.abs(x), w, math.sqrt(2 / math.pi))) < 6
    assert abs(pull(x, np.ones(N), 0.0)) > 40


def test_auc_before_is_the_closed_form(refinement):
    """Phi(shift / sqrt 2) for a shift of a Gaussian."""
    exact = 0.5 * (1 + math.erf(SHIFT / 2))
    assert refinement.auc.value == pytest.approx(exact, abs=4 * refinement.auc.std_error)


def test_truth_against_truth_weighs_nearly_nothing():
    found = refine(normal(3), normal(4), rng=2)
    assert np.std(found.events.weights) < 0.08
    assert np.std(found(normal(5)).weights) < 0.08
    assert found.n_effective > 0.99 * N
    assert found.auc.value < found.auc.floor + 2 * found.auc.std_error


def test_negative_weights_of_the_truth_count():
    """N(0, 1) less a fifth of N(1, 0.5), which is a density; the mean is -1/4."""
    random = np.random.default_rng(6)
    n = 6000
    x = np.concatenate((random.normal(size=n), random.normal(1.0, 0.5, size=n)))
    w = np.repeat([1.0, -0.2], n)
    truth = weighted(pg.Events.from_dict({"x": x}), w)
    found = refine(truth, normal(7, n), rng=3)
    new = found(normal(8, n))
    y, ratio = new["x"], new.weights
    assert ratio.min() > 0
    bump = np.exp(-2 * (y - 1) ** 2 + y**2 / 2) / 0.5  # N(1, 0.5) over N(0, 1)
    exact = (1 - 0.2 * bump) / 0.8
    assert np.sqrt(np.mean((ratio - exact) ** 2)) < 0.12
    assert abs(np.average(y, weights=ratio) + 0.25) < 0.04
    # the control: without their signs the weights go the other way
    blind = refine(weighted(truth[["x"]], np.abs(w)), normal(7, n), rng=3)
    assert np.average(blind.events["x"], weights=blind.events.weights) > 0.1


def test_weights_of_the_generated_events_are_multiplied():
    """Generated: N(1/2, 1) with weights that shift it to N(1/4, 1)."""
    fake = [normal(seed, shift=SHIFT) for seed in (9, 10)]
    fake = [weighted(e, exact_ratio(e["x"], 0.25) * np.exp(0.0625)) for e in fake]
    found = refine(normal(11), fake[0], rng=4)
    new = found(fake[1])
    assert new.schema.weight == "w"
    assert abs(np.average(fake[1]["x"], weights=fake[1].weights) - 0.25) < 0.05
    assert abs(np.average(new["x"], weights=new.weights)) < 0.05
    assert new.weights.mean() == pytest.approx(fake[1].weights.mean(), rel=0.05)


# ---------------------------------------------------------------- what the classifier sees


def correlated(seed, n, rho):
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(2, n))
    return pg.Events.from_dict({"x": x, "y": rho * x + math.sqrt(1 - rho**2) * y})


def test_an_observable_tells_what_the_columns_hide():
    """Two Gaussians of correlation 0.3: a shallow learner needs the product."""
    truth, fake = correlated(0, 3000, 0.3), correlated(1, 3000, 0.0)

    def stumps(x, labels, weights, *, seed):
        from sklearn.ensemble import HistGradientBoostingClassifier

        trees = HistGradientBoostingClassifier(max_leaf_nodes=2, random_state=seed)
        return trees.fit(x, labels, weights).decision_function

    def error(**more):
        events = refine(truth, fake, fit=stumps, rng=1, **more).events
        x, y = events["x"], events["y"]
        return abs(np.average(x * y, weights=events.weights) - 0.3)

    assert error() > 0.2
    assert error(observables={"xy": lambda e: e["x"] * e["y"]}) < 0.1


def test_packs_and_arrays_are_features(zmumu):
    small = zmumu[:200]
    n = FeatureTable.of(small, small, None, False)(small).shape[1]
    packs = FeatureTable.of(small, small, None, None)(small)
    assert packs.shape == (200, n + 6 + 5)  # of the muons and of the two leading jets
    squares = {"squares": lambda e: np.stack((e["mu1_pt"], e["mu2_pt"]), axis=1) ** 2}
    more = FeatureTable.of(small, small, ["mu1_pt"], squares)(small)
    assert np.allclose(more[:, -2], small["mu1_pt"] ** 2)


def test_jagged_events_have_features(jets):
    table = FeatureTable.of(jets, jets, None, False)(jets)
    # x, n; sum and leading entry of pt and of eta; the number of jets
    assert table.shape == (6, 7)
    assert table[:, -3:].min() >= -1
    assert sorted({int(v) for v in table[:, 4]}) == [0, 1, 2, 3]


def test_angles_of_lists_and_single_cells_have_no_sum_or_place():
    """A sum of angles and the mean index of one cell say nothing."""
    rng = np.random.default_rng(0)
    lists = ak.Array([[0.5, 1.0], [], [2.0]] * 10)
    fields = (
        pg.Field("phi", jagged=True, unit="rad"),
        pg.Field("e", shape=(1, 9)),
    )
    cells = rng.exponential(size=(30, 1, 9)).astype("f4")
    events = pg.Events(pg.Schema(fields), {"phi": lists, "e": cells})
    table = FeatureTable.of(events, events, None, False)
    labels = [label for f in fields for label, *_ in columns_of(f, events[f.name], True)]
    assert not any("phi sum" in label or "along axis 0" in label for label in labels)
    assert "e mean index along axis 1" in labels
    x = table(events)
    assert any(np.allclose(x[:, k], [0.5, 0, 2.0] * 10) for k in range(x.shape[1]))
    with pytest.raises(pg.SchemaError, match="no field 'e' in the events"):
        table(events[["phi"]])


def test_the_weight_is_no_feature(refinement):
    other = weighted(normal(2, shift=SHIFT), np.full(N, 7.0))
    assert np.allclose(refinement(other).weights / 7, refinement(normal(2, shift=SHIFT)).weights)


# ---------------------------------------------------------------- honesty


def memory(x, labels, *_, **__):
    """Knows the label of every event that it was given, and nothing else."""
    seen = dict(zip(x[:, 0].tolist(), labels.tolist(), strict=True))
    return lambda events: np.array([8.0 * (2 * seen.get(v, 0.5) - 1) for v in events[:, 0]])


def test_no_classifier_weighs_what_it_has_learned():
    found = refine(normal(0, 2000), normal(1, 2000, shift=SHIFT), fit=memory, rng=1)
    assert found.events.weights == pytest.approx(np.ones(2000), abs=1e-6)


def test_twins_of_a_condition_share_their_fold():
    """Made at the conditions of the truth row by row, they must not tell of each other."""
    c = np.random.default_rng(5).normal(size=3000)
    truth = pg.Events.from_dict({"c": c, "x": c + 1.0})
    found = refine(truth, truth, fields=["c"], fit=memory, rng=1)
    assert found.events.weights == pytest.approx(np.ones(3000), abs=1e-6)
    # the control: in another order the memory finds them, and is certain of the wrong label
    mixed = refine(truth, truth[np.arange(3000)[::-1]], fields=["c"], fit=memory, rng=1)
    assert mixed.auc.value != 0.5


def test_events_of_the_fit_are_recognized(refinement):
    with pytest.raises(ValueError, match=r"have learned from these events.*refinement\.events"):
        refinement(normal(1, shift=SHIFT)[:500])


def test_values_that_repeat_by_nature_are_no_copies():
    random = np.random.default_rng(0)
    spins = [pg.Events.from_dict({"n": random.integers(0, 5, size=1000)}) for _ in range(3)]
    assert len(refine(spins[0], spins[1], rng=0)(spins[2])) == 1000


def test_the_limit_holds_and_is_told():
    found = refine(normal(0, 3000), normal(1, 3000, shift=2.0), max_weight=4.0, rng=1)
    w = found.events.weights
    assert w.max() / w.min() <= 16 * (1 + 1e-9)
    assert 0 < found.n_clipped < 3000
    assert f"{found.n_clipped} at the limit" in str(found)


def test_an_event_weighs_the_same_in_any_company(refinement):
    events = normal(2, shift=SHIFT)
    assert np.allclose(refinement(events).weights[:100], refinement(events[:100]).weights)


def test_the_seed_makes_the_weights():
    a, b, c = (
        refine(normal(0, 500), normal(1, 500, shift=1), rng=s).events.weights for s in (1, 1, 2)
    )
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


# ---------------------------------------------------------------- columns and files


def test_the_weight_says_where_it_comes_from(refinement):
    schema = refinement.events.schema
    assert schema["weight"].role == "weight"
    said = schema.conventions["refinement"]
    assert said == (
        "odds of 5 classifiers between 10000 events of the truth and 10000 generated ones, by 1 "
        "numbers per event, within a factor 20"
    )
    assert "effective 7," in str(refinement)


def test_a_column_named_weight_is_left_alone():
    def both(seed, shift):
        return normal(seed, 500, shift=shift, weight=lambda x: x**2)

    found = refine(both(0, 0.0), both(1, 1.0), rng=0).events
    assert found.schema.weight == "refinement_weight"
    assert found.schema["weight"].role == "observable"


def test_shell(tmp_path, capsys):
    truth, fake, more = normal(0, 2000), normal(1, 2000, shift=1), normal(2, 1000, shift=1)
    for name, events in (("truth", truth), ("fake", fake), ("more", more)):
        pg.write_events(tmp_path / f"{name}.h5", events)
    files = [str(tmp_path / name) for name in ("truth.h5", "fake.h5")]
    out = tmp_path / "refined.h5"
    assert main(["refine", *files, "-o", str(out), "--seed", "3"]) == 0
    refined = pg.read_events(out)
    assert np.allclose(refined.weights, refine(truth, fake, rng=3).events.weights)
    assert "refinement" in refined.schema.conventions
    assert "AUC before: 0.7" in capsys.readouterr().out
    apply = ["--apply", str(tmp_path / "more.h5"), "--unweight"]
    assert main(["refine", *files, "-o", str(out), *apply]) == 0
    unweighted = pg.read_events(out)
    assert len(unweighted) < 1000
    assert (unweighted.weights == 1).all()
    assert abs(np.mean(unweighted["x"])) < 0.35
    assert "efficiency" in capsys.readouterr().out


# ---------------------------------------------------------------- unweighting


def two_weights(n=20_000):
    events = pg.Events.from_dict({"side": np.arange(n) % 2})
    return weighted(events, np.where(events["side"] == 1, 3.0, 1.0))


def test_unweighted_events_have_the_weighted_law():
    found = unweight(two_weights(), rng=0)
    n = len(found.events)
    assert (found.events.weights == 1).all()
    assert abs(found.events["side"].mean() - 0.75) < 4 * math.sqrt(0.75 * 0.25 / n)
    assert found.efficiency == n / 20_000
    assert found.efficiency == pytest.approx(2 / 3, abs=0.02)
    assert (found.n_over, found.over_share) == (0, 0.0)


def test_overweights_are_reported():
    """A limit of 2 takes one of the four parts of the sum."""
    found = unweight(two_weights(), max_weight=2.0, rng=0)
    assert found.efficiency == pytest.approx(0.75, abs=0.02)
    assert found.n_over == 10_000
    assert found.over_share == pytest.approx(0.25)
    assert "10000 had more than the largest weight 2, which loses 25.00% of the sum" in str(found)


def test_whether_an_event_is_accepted_is_its_own_matter():
    events = two_weights(1000)
    first = unweight(events[:100], rng=5).events
    assert len(first) == len(unweight(events, rng=5).events) - len(
        set(accepted(events, 5)) - set(range(100))
    )


def accepted(events, seed):
    numbered = events.with_columns({"k": np.arange(len(events))})
    return unweight(numbered, rng=seed).events["k"].tolist()


# ---------------------------------------------------------------- bad input


def test_bad_input_of_a_refinement():
    truth, fake = normal(0, 500), normal(1, 500)
    with pytest.raises(ValueError, match="generated has 99 events; a classifier needs 100"):
        refine(truth, fake[:99], rng=0)
    with pytest.raises(ValueError, match="1 generated events have negative weights"):
        refine(truth, weighted(fake, np.r_[-1.0, np.ones(499)]), rng=0)
    with pytest.raises(pg.SchemaError, match="no field is in both samples: x and y"):
        refine(truth, pg.Events.from_dict({"y": np.arange(500.0)}), rng=0)
    with pytest.raises(pg.SchemaError, match="no field 'z' in the reference"):
        refine(truth, fake, fields=["z"], rng=0)
    with pytest.raises(TypeError, match="fields is a list of names"):
        refine(truth, fake, fields="x", rng=0)
    with pytest.raises(ValueError, match="max_weight must be above 1"):
        refine(truth, fake, max_weight=1.0, rng=0)
    with pytest.raises(ValueError, match="n_folds must be at least 2"):
        refine(truth, fake, n_folds=1, rng=0)
    with pytest.raises(ValueError, match="'log' is NaN or infinite in"):
        refine(truth, fake, observables={"log": lambda e: np.where(e["x"] > 0, 1, np.nan)}, rng=0)
    with pytest.raises(ValueError, match=r"'one' must be numbers of shape \(500,\) or"):
        refine(truth, fake, observables={"one": lambda e: e["x"][:1]}, rng=0)
    with pytest.raises(TypeError, match="must be Events, got dict"):
        refine({"x": truth["x"]}, fake, rng=0)


def test_conditions_must_have_the_law_of_the_truth():
    truth = normal(0, 1000).with_columns({"c": np.arange(1000.0)}, role="condition")
    fake = truth.with_columns({"c": np.arange(1000.0) / 2})
    with pytest.raises(ValueError, match="another law of the condition 'c'"):
        refine(truth, fake, rng=0)
    assert len(refine(truth, truth, rng=0).events) == 1000


def test_a_condition_that_is_no_number_or_not_there_is_not_compared():
    lists = [[1.0]] * 500 + [[2.0, 3.0]] * 500
    truth = normal(0, 1000).with_columns({"c": ak.Array(lists)}, role="condition")
    for fake in (truth.with_columns({"c": ak.Array(lists[::-1])}), normal(1, 1000)):
        assert len(refine(truth, fake, rng=0).events) == 1000


def test_bad_input_of_unweighting():
    with pytest.raises(ValueError, match="have no weight column"):
        unweight(normal(0, 10), rng=0)
    with pytest.raises(ValueError, match="1 events have negative weights"):
        unweight(weighted(normal(0, 3), np.array([1.0, -1.0, 2.0])), rng=0)
    with pytest.raises(ValueError, match="max_weight must be positive"):
        unweight(two_weights(10), max_weight=0.0, rng=0)
    with pytest.raises(ValueError, match="none of 10 events was accepted"):
        unweight(two_weights(10), max_weight=1e9, rng=0)
