"""Jets through the preprocessor and the files: the number of particles first, then the cloud."""

import awkward as ak
import numpy as np
import pytest
import torch

import physgen as pg
from physgen.conditions import ConditionError
from physgen.models import SetTransformer
from physgen.preprocessing import Preprocessor
from physgen.random import PhiloxRandom
from physgen.schema import Field, Schema, SchemaError
from physgen.transforms import ByCategory, Categories, Count, Linear, Log, Quantile

N, N_MAX = 400, 12
PARTICLE = ("particle_eta_rel", "particle_phi_rel", "particle_pt_rel")


def random_of(n, seed=3):
    return PhiloxRandom(seed, torch.arange(n))


def toy_jets(n=N, *, seed=0, mean=14.0, n_max=N_MAX, angle=0.1):
    """Jets in JetNet's layout that keep the hardest ``n_max`` of their particles."""
    rng = np.random.default_rng(seed)
    counts = 2 + rng.poisson(mean - 2, n)
    pt = rng.uniform(800, 1600, n)
    kept = np.minimum(counts, n_max)
    shares = [np.sort(rng.dirichlet(np.full(c, 0.7)))[::-1][:k] + 1e-6
              for c, k in zip(counts, kept, strict=True)]  # fmt: skip
    angles = [rng.normal(0, angle, (k, 2)) for k in kept]
    mass = np.array([
        pg.observables.jets.jet_mass(a[None, :, 0], a[None, :, 1], s[None])[0]
        for a, s in zip(angles, shares, strict=True)
    ])  # fmt: skip
    columns = {
        "particle_eta_rel": ak.Array([a[:, 0] for a in angles]),
        "particle_phi_rel": ak.Array([a[:, 1] for a in angles]),
        "particle_pt_rel": ak.Array(shares),
        "pt": pt,
        "eta": rng.normal(0, 0.8, n),
        "mass": mass * pt,
        "n_particles": counts,
    }
    columns = {name: ak.values_astype(ak.Array(v), np.float32) for name, v in columns.items()}
    fields = [
        *(Field(name, jagged=True, collection="particle") for name in PARTICLE),
        Field("pt", unit="GeV"), Field("eta"), Field("mass", unit="GeV"), Field("n_particles"),
    ]  # fmt: skip
    said = {"layout": "jetnet", "n_particles_max": str(n_max)}
    return pg.Events(
        Schema(tuple(fields), conventions=said),
        {n: v if n in PARTICLE else v.to_numpy() for n, v in columns.items()},
    )


@pytest.fixture(scope="module")
def jets(tmp_path_factory):
    path = tmp_path_factory.mktemp("jets") / "jets.h5"
    pg.write_events(path, toy_jets())
    return pg.read_events(path)


@pytest.fixture(scope="module")
def fitted(jets):
    return Preprocessor.fit(jets)


def made_from_noise(fitted, n=500):
    spec = fitted.spec
    x = torch.randn(n, spec.n_features, generator=torch.Generator().manual_seed(1))
    return fitted.inverse(x, {})


def test_the_layout_comes_back_byte_by_byte(jets, tmp_path):
    import h5py

    first, second = tmp_path / "a.h5", tmp_path / "b.h5"
    pg.write_events(first, jets)
    pg.write_events(second, pg.read_events(first))
    with h5py.File(first) as a, h5py.File(second) as b:
        assert set(a) == set(b) == {"particle_features", "jet_features"}
        for name in a:
            assert np.array_equal(a[name][:], b[name][:])
        assert a["particle_features"].shape == (N, N_MAX, 4)


def test_numbers_first_then_the_cloud(fitted):
    jet, cloud = fitted.spec.stages
    # pt, eta, mass, number; sum, axis, width and hardest of the particles
    assert (jet.n_features, jet.n_conditions, jet.rows) == (9, 0, None)
    assert (cloud.n_features, cloud.n_conditions, cloud.shape) == (3 * N_MAX, 9, (N_MAX, 3))
    assert isinstance(fitted.transforms["n_particles"], Count)
    cloud_of = fitted.clouds["particle"]
    assert (cloud_of.counter, cloud_of.truncated) == ("n_particles", True)
    assert [type(t) for t in cloud_of.transforms] == [ByCategory] * 3


@pytest.mark.parametrize(
    ("draw", "kind"),
    [
        (lambda rng, n: rng.normal(0, 0.1, n), Linear),
        (lambda rng, n: rng.uniform(-1, 1, n), Linear),
        (lambda rng, n: rng.laplace(0, 0.1, n), Quantile),
        (lambda rng, n: rng.normal(0, rng.choice([0.05, 0.5], n)), Quantile),
        (lambda rng, n: rng.exponential(1, n), Log),
    ],
)
def test_peaks_with_tails_get_a_normal_score(draw, kind):
    rng = np.random.default_rng(4)
    counts = rng.integers(1, 20, N)
    hits = {"hit_x": ak.unflatten(draw(rng, counts.sum()), counts), "e": rng.normal(size=N)}
    fitted = Preprocessor.fit(pg.Events.from_dict(hits))
    assert isinstance(fitted.clouds["hit"].transforms[0], kind)


def test_the_number_of_particles_says_how_many_rows_there_are(jets, fitted):
    x, _ = fitted.forward(jets, rng=random_of(N))
    cloud = fitted.spec.stages[1]
    known, rows = x[:, : cloud.n_conditions], x[:, cloud.n_conditions :]
    counts = jets.multiplicity(PARTICLE[0])
    assert np.array_equal(cloud.rows.count(known).numpy(), counts)
    assert (counts < jets["n_particles"]).any()
    assert (counts == jets["n_particles"]).any()
    mask = cloud.mask(known)
    assert np.array_equal(mask.sum(dim=1).numpy(), 3 * counts)
    assert (rows[mask == 0] == 0).all()
    mask[:, 2] = 0  # the hardest is as hard as itself
    assert (rows[mask == 1] != 0).all()


def test_round_trip(jets, fitted):
    x, _ = fitted.forward(jets, rng=random_of(N))
    back = fitted.inverse(x, {})
    for name in jets.schema.names:
        new, old = ak.Array(back[name]), ak.Array(jets[name])
        assert len(new) == len(old)
        assert ak.max(abs(new - old) / (abs(old) + 1e-2)) < 1e-4, name


def test_noise_becomes_jets_like_those_of_the_file(jets, fitted, tmp_path):
    made = pg.Events(fitted.schema, made_from_noise(fitted))
    counts = made.multiplicity(PARTICLE[0])
    assert np.array_equal(counts, np.minimum(made["n_particles"], N_MAX))
    pt = made["particle_pt_rel"]
    assert ak.min(pt) > 0
    assert ak.all(pt[:, 1:] <= pt[:, :-1])
    pg.write_events(tmp_path / "made.h5", made)
    again = pg.read_events(tmp_path / "made.h5")
    assert again.schema == jets.schema
    assert ak.all(again["particle_pt_rel"] == pt)


def test_the_order_of_a_cloud_is_known_where_there_is_one(jets, fitted):
    assert fitted.spec.stages[1].rows.ordered
    turned = jets.with_columns({name: jets[name][:, ::-1] for name in PARTICLE})
    assert not Preprocessor.fit(turned).spec.stages[1].rows.ordered


def test_rows_without_a_jagged_counter_in_the_file(jets):
    columns = {n: jets[n] for n in jets.schema.names if n != "n_particles"}
    fitted = Preprocessor.fit(jets[list(columns)])
    x, _ = fitted.forward(jets[list(columns)], rng=random_of(N))
    stage = fitted.spec.stages[1]
    counts = stage.rows.count(x[:, : stage.n_conditions]).numpy()
    assert np.array_equal(counts, jets.multiplicity(PARTICLE[0]))


@pytest.mark.parametrize("values", [(4,), (3, 4)])
def test_clouds_of_one_length_and_of_two(values):
    """Binary and constant counters would leave a network without its number of rows."""
    rng = np.random.default_rng(1)
    counts = rng.choice(values, N)
    events = pg.Events.from_dict({
        "e": rng.normal(size=N),
        "hit_x": ak.unflatten(rng.normal(size=counts.sum()), counts),
    })  # fmt: skip
    fitted = Preprocessor.fit(events)
    x, _ = fitted.forward(events, rng=random_of(N))
    stage = fitted.spec.stages[1]
    assert np.array_equal(stage.rows.count(x[:, : stage.n_conditions]).numpy(), counts)
    only = Preprocessor.fit(events[["hit_x"]]).spec
    if len(values) == 1:
        assert only.shape == (4, 1)
        assert (only.rows.count(torch.zeros(2, 0)) == 4).all()


def test_longer_clouds_are_refused(jets, fitted):
    longer = toy_jets(50, n_max=N_MAX + 5)
    longer = longer.replace_schema(jets.schema)
    with pytest.raises(SchemaError, match=r"particle has up to 17 .* fitted with at most 12"):
        fitted.forward(longer, rng=random_of(50))


def test_a_counter_that_contradicts_its_rows_is_refused(jets, fitted):
    wrong = jets["n_particles"].copy()
    wrong[7] = 2
    with pytest.raises(SchemaError, match="n_particles is 2 in event 7, which has"):
        fitted.forward(jets.with_columns({"n_particles": wrong}), rng=random_of(N))


def test_a_column_tells_the_number_only_if_it_always_does(jets):
    one_off = jets["n_particles"].copy()
    one_off[int(np.argmin(one_off))] += 1
    other = Preprocessor.fit(jets.with_columns({"n_particles": one_off}))
    assert other.clouds["particle"].counter == "n(particle)"
    assert not other.clouds["particle"].truncated


def test_stored_preprocessors_know_that_the_file_cuts(fitted):
    import json

    stored = json.loads(json.dumps(fitted.to_dict()))
    again = Preprocessor.from_dict(stored, fitted.schema)
    assert again.clouds["particle"].truncated
    assert again.spec == fitted.spec


@pytest.fixture(scope="module")
def two_classes():
    """Narrow jets of many particles and wide ones of few, with a column that tells which."""
    parts = [
        e.with_columns({"jet_class": np.full(len(e), k)})
        for k, e in enumerate((toy_jets(seed=1), toy_jets(seed=2, mean=6, angle=0.4)))
    ]
    return pg.concatenate(parts)


def test_classes_and_pt_as_conditions(two_classes):
    conditions = ["jet_class", "pt"]
    jets = two_classes.replace_schema(two_classes.schema.with_roles(conditions=conditions))
    fitted = Preprocessor.fit(jets)
    assert not isinstance(fitted.transforms["jet_class"], Categories | Count)
    assert [s.n_conditions for s in fitted.spec.stages] == [2, 10]


def test_one_model_makes_both_classes(two_classes):
    model = pg.Diffusion(
        n_hidden=48,
        network=SetTransformer(n_hidden=16, n_blocks=2),
        n_sampling_steps=10,
        array_learning_rate=5e-3,
    )
    surrogate = pg.Surrogate.fit(
        two_classes,
        model,
        conditions=["jet_class"],
        training=pg.TrainingConfig(steps=150, batch_size=64),
        rng=1,
    )

    def seen(kind, rng):
        """Mean number of particles, and the width of the angles."""
        made = surrogate(300, {"jet_class": kind}, rng=rng)
        assert (made.multiplicity(PARTICLE[0]) == np.minimum(made["n_particles"], N_MAX)).all()
        return made["n_particles"].mean(), ak.std(made["particle_eta_rel"])

    (many, narrow), (few, wide) = seen(0, 2), seen(1, 2)
    truth = [two_classes[two_classes["jet_class"] == k] for k in (0, 1)]
    assert abs(many - truth[0]["n_particles"].mean()) < 1
    assert abs(few - truth[1]["n_particles"].mean()) < 1
    # 0.1 and 0.4 in truth
    assert narrow < 0.2 < 0.28 < wide
    # negative control: one class twice
    again = seen(0, 3)
    assert abs(again[0] - many) < 1
    assert abs(again[1] - narrow) < 0.03


def test_conditions_and_numbers_outside_the_training_are_refused(two_classes):
    surrogate = pg.Surrogate.fit(
        two_classes, pg.Diffusion(n_hidden=8, n_sampling_steps=2,
                                  network=SetTransformer(n_hidden=8, n_blocks=1)),
        conditions=["n_particles", "jet_class"], steps=2, rng=1,
    )  # fmt: skip
    made = surrogate(3, {"n_particles": [2, 9, 20], "jet_class": 0}, rng=2)
    assert made.multiplicity(PARTICLE[0]).tolist() == [2, 9, N_MAX]
    with pytest.raises(ConditionError, match="n_particles"):
        surrogate(1, {"n_particles": 500, "jet_class": 0}, rng=2)
    with pytest.raises(ConditionError, match="jet_class"):
        surrogate(1, {"n_particles": 5, "jet_class": 2}, rng=2)
