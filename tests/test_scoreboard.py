import json
from functools import partial

import numpy as np
import pytest

import physgen as pg
from physgen.challenge import (
    DATASETS,
    Published,
    high_level_features,
    published_results,
    separation_powers,
)
from physgen.challenge_network import _built, challenge_network
from physgen.estimates import Estimate
from physgen.files.binning import Binning, Layer
from physgen.observables import layer_features
from physgen.schema import SchemaError
from physgen.scoreboard import Scoreboard, _differences, scoreboard

SMALL = tuple(Layer(k, (0.0, 5.0, 10.0, 20.0), 4 if k else 1) for k in range(3))
DS2 = tuple(Layer(k, tuple(np.linspace(0, 41.85, 10)), 16) for k in range(45))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr("physgen.scoreboard._FPD_BATCHES", (300, 600))
    monkeypatch.setattr("physgen.scoreboard._KPD_BATCH", 200)


def showers(seed, n=250, layers=SMALL, scale=1.0, unit="MeV"):
    rng = np.random.default_rng(seed)
    n_voxels = sum(layer.n_voxels for layer in layers)
    energies = np.exp(rng.uniform(np.log(1e3), np.log(5e4), n))
    share = rng.exponential(size=(n, n_voxels)) * (rng.random((n, n_voxels)) < 0.6) / n_voxels
    columns = {"incident_energies": energies, "showers": scale * share * energies[:, None] * 1.6}
    return pg.Events.from_dict(
        columns,
        units=dict.fromkeys(columns, unit),
        conventions={"binning": Binning("electron", layers).to_xml()},
    )


def linear(x, labels, weights, *, seed):  # noqa: ARG001
    """Fisher's discriminant: a classifier that costs nothing."""
    center, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    z = (x - center) / spread
    step = z[labels == 1].mean(axis=0) - z[labels == 0].mean(axis=0)
    direction = np.linalg.solve(np.cov(z.T) + 0.1 * np.eye(z.shape[1]), step)
    return lambda events: (events - center) / spread @ direction


# ---------------------------------------------------------------- definitions


def test_the_data_sets_have_the_voxels_of_the_challenge():
    assert {d.name: d.n_voxels for d in DATASETS} == {
        "ds1_photons": 368, "ds1_pions": 533, "ds2": 6480, "ds3": 40500
    }  # fmt: skip


def test_the_table_is_the_published_one():
    table = published_results()
    counts = {d.name: sum(p.dataset == d.name for p in table) for d in DATASETS}
    assert counts == {"ds1_photons": 16, "ds1_pions": 13, "ds2": 18, "ds3": 16}
    best = min((p for p in table if p.dataset == "ds2"), key=lambda p: p.values["binary cls low"])
    assert best.name == "GEANT4"
    dream = next(p for p in table if (p.dataset, p.name) == ("ds2", "CaloDREAM"))
    assert dream.values["FPD * 1e3"] == pytest.approx(24.65, abs=0.01)
    assert dream.values["binary cls high"] == pytest.approx(0.5208, abs=1e-4)


def test_features_are_in_the_order_of_the_challenge():
    events = showers(0, 20)
    e, incident = events["showers"], events["incident_energies"]
    f = layer_features(e, SMALL, threshold=1.0)
    x = high_level_features(e, incident, SMALL, threshold=1.0)
    assert x.shape == (20, 1 + 3 + 4 * 2 + 1 + 3 * 3)
    assert x[:, 0].tolist() == np.log10(incident).tolist()
    assert x[:, 1:4] == pytest.approx(np.log10(f.energy + 1e-8))
    assert x[:, 4:6] == pytest.approx(f.center_eta[:, 1:] / 100)
    assert x[:, 6:8] == pytest.approx(f.center_phi[:, 1:] / 100)
    assert x[:, 8:10] == pytest.approx(f.width_eta[:, 1:] / 100)
    assert x[:, 10:12] == pytest.approx(f.width_phi[:, 1:] / 100)
    assert x[:, 12] == pytest.approx(np.log10(f.energy.sum(axis=1) + 1e-8))
    assert x[:, 13:16].tolist() == f.sparsity.tolist()
    assert x[:, 16:19] == pytest.approx(f.center_r / 100)
    assert x[:, 19:] == pytest.approx(f.width_r / 100)


def arrays(events):
    return events["showers"], events["incident_energies"]


def test_separation_powers_by_hand():
    a, b = arrays(showers(0)), arrays(showers(1, scale=0.8))
    found = separation_powers(a, b, SMALL, threshold=1.0)
    cut = [np.where(e < 1.0, 0, e) for e in (a[0], b[0])]
    ratios = [e.sum(axis=1) / inc for e, inc in zip(cut, (a[1], b[1]), strict=True)]
    p, q = (np.histogram(r, np.linspace(0.5, 1.5, 101))[0] for r in ratios)
    p, q = p / p.sum(), q / q.sum()
    by_hand = sum((x - y) ** 2 / (x + y) / 2 for x, y in zip(p, q, strict=True) if x + y > 0)
    assert found["E_tot / E_inc"] == pytest.approx(by_hand)
    edges = np.logspace(0, np.log10(cut[0].max()), 50)  # as numpy does it: 49 bins
    p, q = (np.histogram(e.ravel(), edges)[0] for e in cut)
    p, q = p / p.sum(), q / q.sum()
    assert found["voxel energies"] == pytest.approx((0.5 * (p - q) ** 2 / (p + q + 1e-16)).sum())
    assert separation_powers(a, a, SMALL, threshold=1.0) == dict.fromkeys(found, 0.0)


# ---------------------------------------------------------------- the board


def test_showers_of_no_data_set_have_scores_and_no_place(request):
    data = request.config.rootpath / "data"
    events = pg.read_events(data / "showers.h5", binning=data / "binning_576.xml")[:1000]
    board = scoreboard(events[:500], events[500:], fit=linear, rng=0)
    assert board.dataset is None
    assert board.published == ()
    assert "576 voxels are in no data set of the challenge" in board.differences[0]
    assert not any(board.may_be_claimed(score) for score in board.scores)
    assert board.place("FPD·1e3") is None
    text = str(board)
    assert "No claim can be made from these numbers" in text
    assert "CaloDREAM" not in text
    assert abs(board.scores["AUC high"].value - 0.5) < 4 * board.scores["AUC high"].std_error
    assert board.scores["FPD·1e3"].p_value > 0.01
    assert board.scores["KPD·1e3"].p_value > 0.01


def test_wrong_showers_score_worse():
    good = scoreboard(showers(0), showers(1), fit=linear, rng=0).scores
    bad = scoreboard(showers(0), showers(1, scale=0.4), fit=linear, low_level=True, rng=0).scores
    assert set(bad) == {"AUC high", "AUC low", "FPD·1e3", "KPD·1e3"}
    assert bad["AUC high"].value > 0.8 > 0.6 > good["AUC high"].value
    for score in ("FPD·1e3", "KPD·1e3"):
        assert bad[score].p_value < 0.03 < good[score].p_value


def differences(dataset, layers, energies, n=None):
    n = n or dataset.n_events
    return " ".join(_differences(dataset, layers, [energies] * 2, (n, n)))


def log_uniform(low, high, n=5000):
    return np.exp(np.random.default_rng(0).uniform(np.log(low), np.log(high), n))


def test_what_differs_is_said():
    ds2 = DATASETS[2]
    right = log_uniform(1e3, 1e6)
    assert differences(ds2, DS2, right) == ""
    assert "reference go from 1 to 49.9 GeV" in differences(ds2, DS2, log_uniform(1e3, 5e4))
    assert "log-uniform from 1 GeV" in differences(ds2, DS2, np.linspace(1e3, 1e6, 5000))
    assert "14,000 events; the published numbers are for 100,000" in differences(
        ds2, DS2, right, 14_000
    )
    wide = tuple(Layer(x.id, tuple(2 * r for r in x.r_edges), x.n_alpha) for x in DS2)
    assert "binned in another way" in differences(ds2, wide, right)
    coarse = tuple(Layer(x.id, x.r_edges[::3], x.n_alpha) for x in DS2)
    assert "binned in another way" in differences(ds2, coarse, right)


def test_discrete_energies_of_data_set_1():
    photons = DATASETS[0]
    layers = tuple(
        Layer(k, tuple(map(float, range(n_r + 1))), n_alpha) for k, n_r, n_alpha in photons.layers
    )
    powers = np.repeat(2.0 ** np.arange(8, 23), 10)
    assert differences(photons, layers, powers) == ""
    assert "15 powers of 2" in differences(photons, layers, 1.1 * powers)
    assert "15 powers of 2" in differences(photons, layers, powers[:100])


def board_on_ds2(**changes):
    """A board whose scores are known, on what looks like data set 2."""
    values = {"AUC high": 0.7, "FPD·1e3": 100.0, "KPD·1e3": 0.2}
    settings = {
        "dataset": "ds2",
        "scores": {k: Estimate(v, 0.01, 0.51, 0.001) for k, v in values.items()},
        "separations": {"E_tot / E_inc": 0.01},
        "published": tuple(p for p in published_results() if p.dataset == "ds2"),
        "differences": (),
        "classifier": "",
        "n_events": (100_000, 100_000),
    }
    return Scoreboard(**settings | changes)


def test_places_among_the_submissions():
    board = board_on_ds2()
    # better: CaloDREAM with 24.6; CaloDREAM, CaloDiffusion, CaloScore with an AUC below 0.7
    assert board.place("FPD·1e3") == (2, 18)
    assert board.place("AUC high") == (4, 18)
    assert board.place("AUC low") is None
    lines = [line for line in str(board).splitlines() if line.split("  ")[0]]
    order = [line[:26].strip() for line in lines]
    assert order.index("CaloDREAM") < order.index("> this candidate") < order.index("CaloScore")
    assert "GEANT4 against itself" in order
    assert "FPD·1e3: place 2 of 18" in str(board)
    assert "only you can know" in str(board)


def test_another_classifier_has_no_place():
    board = board_on_ds2(classifier="other")
    assert board.place("AUC high") is None
    assert board.place("FPD·1e3") == (2, 18)
    assert "No claim can be made from the AUC: other" in str(board)
    assert all(board_on_ds2(differences=("x",)).place(s) is None for s in board.scores)


def test_the_board_is_plain_json():
    board = board_on_ds2()
    stored = json.loads(json.dumps(board.to_dict()))
    assert stored["places"]["FPD·1e3"] == [2, 18]
    assert stored["source"].endswith("arXiv:2410.21611")


def test_a_table_of_ones_own():
    own = [Published("ds2", "mine", {"FPD * 1e3": 1.0})]
    assert board_on_ds2(published=tuple(own)).place("FPD·1e3") == (2, 2)


# ---------------------------------------------------------------- bad input


def test_what_is_no_shower_of_the_challenge_is_refused():
    good = showers(0, 30)
    with pytest.raises(SchemaError, match="are in GeV, not in MeV"):
        scoreboard(showers(0, 30, unit="GeV"), good, rng=0)
    layers = tuple(Layer(k, (0.0, 6.0, 10.0, 20.0), x.n_alpha) for k, x in enumerate(SMALL))
    with pytest.raises(SchemaError, match="another binning"):
        scoreboard(good, showers(0, 30, layers=layers), rng=0)
    bare = pg.Events.from_dict(good.to_dict())
    with pytest.raises(ValueError, match="carry no binning"):
        scoreboard(bare, bare, rng=0)
    with pytest.raises(SchemaError, match="no field 'incident_energies'"):
        scoreboard(good[["showers"]], good, rng=0)
    weighted = good.with_columns({"w": np.ones(30)}, role="weight")
    few = pg.Events(
        schema=good.schema.with_field("showers", shape=(7,)),
        columns={**good.to_dict(), "showers": good["showers"][:, :7]},
    )
    with pytest.raises(SchemaError, match=r"of the candidate have the shape \(7,\), and the binn"):
        scoreboard(good, few, rng=0)
    with pytest.raises(SchemaError, match="has weights"):
        scoreboard(weighted, good, rng=0)


# ---------------------------------------------------------------- the network


def gaussians(shift, n=600):
    x = np.random.default_rng(0).normal(size=(2 * n, 3))
    labels = np.repeat([0, 1], n)
    x[labels == 1, 0] += shift
    return x, labels


def test_the_network_tells_samples_apart_and_repeats():
    train = partial(challenge_network, n_hidden=32, n_epochs=60, device="cpu")
    x, labels = gaussians(4.0)
    score = train(x, labels, None, seed=1)
    held, truth = gaussians(4.0, 500)
    assert np.mean((score(held) > 0) == truth) > 0.8
    assert np.array_equal(score(held), train(x, labels, np.ones(1200), seed=1)(held))
    with pytest.raises(ValueError, match="knows no weights"):
        train(x, labels, np.arange(1200.0), seed=1)


def test_the_network_has_the_size_of_the_challenge():
    shapes = [tuple(p.shape) for p in _built(10, 2048, 0).parameters() if p.ndim == 2]
    assert shapes == [(2048, 10), (2048, 2048), (2048, 2048), (1, 2048)]
