"""Surrogate: fit, call, and what makes event i."""

import itertools
import logging
import subprocess
import sys
from dataclasses import dataclass

import awkward as ak
import numpy as np
import pytest
import torch
from torch import nn

import physgen as pg
from physgen import ConditionError, Events, Field, Schema, SchemaError
from physgen.transforms import Categories, Linear, Quantile

STEADY = pg.TrainingConfig(steps=1500, decay=0)
TINY = pg.Diffusion(n_hidden=16, n_blocks=1, n_sampling_steps=4)


class Normal(nn.Module):
    """A user's own module: independent normals around a line in the conditions."""

    def __init__(self, n_features, n_conditions=0):
        super().__init__()
        self.mean = nn.Linear(n_conditions, n_features) if n_conditions else None
        self.center = nn.Parameter(torch.zeros(n_features))

    def at(self, condition):
        return self.center + (0 if self.mean is None else self.mean(condition))

    def loss(self, x, condition, *, player, rng):
        return (x - self.at(condition)).square().mean(dim=1)

    @torch.no_grad()
    def sample(self, n_events, condition, *, rng):
        return self.at(condition) + 0.3 * rng.normal(n_events, len(self.center))


def same(a, b):
    return a.schema == b.schema and all(
        ak.array_equal(a[n], b[n], dtype_exact=True) for n in a.schema.names
    )


def table(n=600, seed=0):
    rng = np.random.default_rng(seed)
    energy = rng.uniform(1, 10, n).astype(np.float32)
    counts = rng.poisson(1.5, n)
    schema = Schema(
        (
            Field("energy", unit="GeV", role="condition"),
            Field("code", "int32", role="condition"),
            Field("x", unit="mm"),
            Field("n", "int32"),
            Field("Jet_pt", jagged=True, collection="Jet"),
            Field("w", role="weight"),
        ),
        {"spin_up": "+1"},
    )
    columns = {
        "energy": energy,
        "code": rng.choice([11, 13, 22], n),
        "x": energy + rng.normal(size=n),
        "n": rng.poisson(40, n),
        "Jet_pt": ak.unflatten(20 + rng.exponential(10, counts.sum()), counts),
        "w": rng.choice([2.0, -1.0], n, p=[0.9, 0.1]),
    }
    return Events(schema, columns)


@pytest.fixture(scope="module")
def truth():
    return table()


@pytest.fixture(scope="module")
def fitted(truth):
    return pg.Surrogate.fit(truth, TINY, steps=30, rng=1)


def given(n, **changes):
    plain = {"energy": np.linspace(2, 9, n), "code": np.resize([11, 22, 13], n)}
    return {**plain, **changes}


# ---------------------------------------------------------------- what comes out


def test_the_call_makes_events_with_the_schema_of_the_truth(fitted, truth):
    fake = fitted(300, given(300), rng=2)
    assert len(fake) == 300
    assert fake.schema == truth.schema == fitted.schema
    assert (fake["energy"] == np.linspace(2, 9, 300).astype(np.float32)).all()
    assert (fake["code"] == np.resize([11, 22, 13], 300)).all()
    assert fake["Jet_pt"].layout.content.dtype == np.float32
    assert ak.min(fake["Jet_pt"]) >= ak.min(truth["Jet_pt"])


def test_the_weight_of_the_truth_is_kept_on_average(fitted, truth):
    fake = fitted(5, given(5), rng=2)
    assert fake["w"] == pytest.approx(np.full(5, truth["w"].mean()))
    assert fake.weights.sum() == pytest.approx(5 * truth.weights.mean())


def test_the_seed_decides(fitted):
    one = fitted(50, given(50), rng=2)
    assert same(one, fitted(50, given(50), rng=2))
    assert not same(one, fitted(50, given(50), rng=3))
    big = fitted(50, given(50), rng=2 + 2**32)
    assert not same(one, big)


def test_a_generator_is_a_seed_that_moves_on(fitted):
    first, second = torch.Generator().manual_seed(4), torch.Generator().manual_seed(4)
    a, b = fitted(20, given(20), rng=first), fitted(20, given(20), rng=first)
    assert not same(a, b)
    assert same(a, fitted(20, given(20), rng=second))
    with pytest.raises(TypeError, match="rng must be an integer seed"):
        fitted(5, given(5), rng=None)


def test_event_i_is_the_same_in_any_sample(fitted):
    many = fitted(1000, given(1000), rng=2)
    conditions = {n: v[:10] for n, v in given(1000).items()}
    assert same(fitted(10, conditions, rng=2), many[:10])


@pytest.mark.parametrize("edges", [(0, 1, 10, 300, 1000), (0, 256, 512, 1000), (0, 700, 1000)])
def test_shards_joined_are_one_sample(fitted, edges):
    """Jagged columns, spread integers and conditions, too."""
    conditions = given(1000)
    whole = fitted(1000, conditions, rng=2)
    shards = [
        fitted(
            b - a, {n: v[a:b] for n, v in conditions.items()}, rng=2, first_event=a
        )
        for a, b in itertools.pairwise(edges)
    ]  # fmt: skip
    assert same(pg.concatenate(shards), whole)


def test_the_global_generator_stays_where_it_is(fitted, truth):
    state = torch.get_rng_state()
    fitted(5, given(5), rng=0)
    pg.Surrogate.fit(truth, TINY, steps=1, rng=0)
    assert torch.equal(state, torch.get_rng_state())


def test_training_with_a_seed_is_repeatable(truth):
    def weights(seed):
        state = pg.Surrogate.fit(truth, TINY, steps=5, rng=seed).model.state_dict()
        return torch.cat([t.flatten() for t in state.values()])

    assert torch.equal(weights(7), weights(7))
    assert not torch.equal(weights(7), weights(8))


def test_numbers_of_events_that_are_refused(fitted):
    with pytest.raises(ValueError, match="n_events must be at least 1, got 0"):
        fitted(0, given(1), rng=0)
    with pytest.raises(ValueError, match="first_event must be at least 0, got -1"):
        fitted(1, given(1), rng=0, first_event=-1)


@pytest.mark.parametrize("n", [5.0, 1.5, "5", None, True])
def test_numbers_of_events_that_are_none(fitted, n):
    with pytest.raises(TypeError, match="n_events must be an integer, got"):
        fitted(n, rng=0)


def test_own_module_learns_and_samples(truth):
    flat = truth[["energy", "x"]]
    torch.manual_seed(0)
    surrogate = pg.Surrogate.fit(flat, Normal(1, 1), training=STEADY, rng=0)
    assert surrogate.settings is None
    low, high = (surrogate(2000, {"energy": e}, rng=1)["x"].mean() for e in (2.0, 9.0))
    # x rises by 1 per GeV
    assert high - low == pytest.approx(7, abs=0.7)


def test_weights_count_in_training():
    """Half the events have weight zero: the surrogate learns the other half."""
    x = np.concatenate((np.full(300, -1.0), np.full(300, 1.0)))
    x += 0.1 * np.random.default_rng(0).normal(size=600)
    schema = Schema((Field("x", "float64"), Field("w", "float64", role="weight")))
    events = Events(schema, {"x": x, "w": (x > 0).astype(float)})
    surrogate = pg.Surrogate.fit(events, Normal(1), training=STEADY, rng=0)
    assert surrogate.model.center.item() == pytest.approx(1, abs=0.1)
    assert surrogate.mean_weight == pytest.approx(0.5, abs=0.01)


# ---------------------------------------------------------------- conditions


def test_a_number_stands_for_all_events(fitted):
    fake = fitted(4, {"energy": 5.0, "code": 13}, rng=0)
    assert fake["energy"].tolist() == [5.0] * 4
    arrays = fitted(4, {"energy": [5.0] * 4, "code": torch.tensor([13] * 4)}, rng=0)
    assert same(fake, arrays)


def test_events_are_conditions(fitted, truth):
    fake = fitted(7, truth[:7], rng=0)
    assert (fake["energy"] == truth["energy"][:7]).all()


def test_the_events_hang_on_the_conditions(fitted):
    low, high = (fitted(200, {"energy": e, "code": 11}, rng=0) for e in (1.5, 9.5))
    assert not (low["x"] == high["x"]).all()


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        (
            None,
            r"needs the condition\(s\) energy \(1\.0.* to .*\), code \(11 to 22\); give",
        ),
        ({"energy": 5.0}, r"needs the condition\(s\) code"),
        ({"energy": 5.0, "code": 11, "Energy": 1}, "no field 'Energy' in the conditions.*energy"),
        ({"energy": [5.0, 6.0], "code": 11}, r"'energy' has shape \(2,\), but 3 events"),
        ({"energy": [[5.0]] * 3, "code": 11}, r"'energy' has shape \(3, 1\)"),
        ({"energy": [5.0, np.nan, 5.0], "code": 11}, "'energy' has non-finite values"),
        ({"energy": "high", "code": 11}, "'energy' holds <U4; give numbers"),
        ({"energy": [5.0, 11.0, 0.5], "code": 11}, "2 of 3 values of the condition 'energy' lie"),
        ({"energy": 11.0, "code": 11}, r"trained range 1\.0.* to .*pass extrapolate=True"),
        ({"energy": 5.0, "code": 12}, "lie outside the trained values 11, 13, 22"),
        ({"energy": 5.0, "code": 11.5}, "'code' holds int32, and 11.5 is none of them"),
        ({"energy": 5.0, "code": 11 + 2**32}, "'code' holds int32, and 4.29497e"),
        ({"energy": 1e300, "code": 11}, "trained range"),
    ],
)
def test_conditions_that_are_refused(fitted, conditions, message):
    with pytest.raises(ConditionError, match=message):
        fitted(3, conditions, rng=0)


def test_extrapolation_is_marked_in_the_schema(fitted, truth, caplog):
    with caplog.at_level(logging.WARNING):
        fake = fitted(3, {"energy": [5.0, 20.0, 5.0], "code": 11}, rng=0, extrapolate=True)
    assert fake.schema.conventions == {"spin_up": "+1", "extrapolated": "energy"}
    assert "1 of 3 values of the condition 'energy'" in caplog.text
    assert fake["energy"].tolist() == [5.0, 20.0, 5.0]
    inside = fitted(3, {"energy": 5.0, "code": 11}, rng=0, extrapolate=True)
    assert inside.schema == truth.schema


def grid_of_temperatures(betas):
    beta = np.random.default_rng(0).choice(betas, 200)
    schema = Schema((Field("beta", "float64", unit="1/J", role="condition"), Field("x")))
    return Events(schema, {"beta": beta, "x": beta + np.random.default_rng(1).normal(size=200)})


@pytest.mark.parametrize("betas", [(0.3, 0.35, 0.4, 0.45, 0.5), (0.3, 0.5)])
def test_temperatures_between_those_of_the_training_are_accepted(betas, tmp_path):
    surrogate = pg.Surrogate.fit(grid_of_temperatures(betas), TINY, steps=2, rng=0)
    surrogate.save(tmp_path / "grid")
    for made_by in (surrogate, pg.Surrogate.load(tmp_path / "grid")):
        assert made_by(3, {"beta": 0.44}, rng=0)["beta"].tolist() == [0.44] * 3
        with pytest.raises(ConditionError, match=r"outside the trained range 0\.3 to 0\.5"):
            made_by(3, {"beta": 0.51}, rng=0)


def test_a_surrogate_saved_with_its_temperatures_as_categories_still_loads(tmp_path):
    events = grid_of_temperatures((0.3, 0.4, 0.5))
    surrogate = pg.Surrogate.fit(events, TINY, transforms={"beta": Categories()}, steps=2, rng=0)
    surrogate.save(tmp_path / "grid")
    loaded = pg.Surrogate.load(tmp_path / "grid")
    assert same(loaded(3, {"beta": 0.4}, rng=0), surrogate(3, {"beta": 0.4}, rng=0))
    with pytest.raises(ConditionError, match=r"trained values 0\.3, 0\.4, 0\.5"):
        loaded(3, {"beta": 0.44}, rng=0)


def test_the_ends_of_the_trained_range_are_inside(fitted, truth):
    ends = [truth["energy"].min(), truth["energy"].max()]
    assert len(fitted(2, {"energy": ends, "code": 11}, rng=0)) == 2


# ---------------------------------------------------------------- arguments of fit


def test_fields_choose_columns_and_keep_conditions_and_weight(truth):
    surrogate = pg.Surrogate.fit(truth, TINY, fields=["x"], steps=2, rng=0)
    assert surrogate.schema.names == ("energy", "code", "x", "w")
    surrogate = pg.Surrogate.fit(truth, TINY, fields=["n"], conditions=["x"], steps=2, rng=0)
    assert surrogate.schema.names == ("x", "n", "w")
    assert surrogate.schema.with_role("condition") == ("x",)


def test_no_conditions_at_all(truth):
    surrogate = pg.Surrogate.fit(truth, TINY, conditions=[], steps=2, rng=0)
    assert surrogate.schema.with_role("condition") == ()
    fake = surrogate(20, rng=0)
    assert set(fake["code"]) <= {11, 13, 22}


def test_transforms_can_be_chosen(truth):
    surrogate = pg.Surrogate.fit(truth, TINY, transforms={"x": Quantile(16)}, steps=2, rng=0)
    assert len(surrogate.preprocessor.transforms["x"].values) == 16
    with pytest.raises(SchemaError, match="no field 'X'"):
        pg.Surrogate.fit(truth, TINY, transforms={"X": Linear()}, steps=2, rng=0)


def test_how_long(truth):
    truth = truth[["energy", "code", "x", "n"]]
    model_steps = pg.Surrogate.fit(truth, TINY, steps=7, rng=0).history.steps
    assert model_steps == [7]
    assert pg.Surrogate.fit(truth, TINY, epochs=3, rng=0).history.steps == [3]
    setting = pg.TrainingConfig(steps=9, batch_size=32)
    surrogate = pg.Surrogate.fit(truth, TINY, training=setting, rng=0)
    assert surrogate.history.steps == [9]
    assert surrogate.info["training"]["batch_size"] == 32
    # an argument takes the place of what the settings say
    assert pg.Surrogate.fit(truth, TINY, training=setting, epochs=2, rng=0).history.steps != [9]
    with pytest.raises(ValueError, match=r"give one budget.*epochs and steps"):
        pg.Surrogate.fit(truth, TINY, epochs=1, steps=1, rng=0)


def test_info_says_where_it_comes_from(fitted, truth):
    assert fitted.info["n_events"] == 600
    assert fitted.info["seed"] == 1
    assert fitted.info["versions"]["physgen"] == pg.__version__
    other = pg.Surrogate.fit(table(seed=5), TINY, steps=1, rng=1)
    again = pg.Surrogate.fit(truth, TINY, steps=1, rng=1)
    assert fitted.info["events_sha256"] == again.info["events_sha256"]
    assert fitted.info["events_sha256"] != other.info["events_sha256"]


def test_repr(fitted):
    assert repr(fitted) == "Surrogate(Diffusion: x, n, Jet_pt, w given energy, code)"


@dataclass(frozen=True)
class NoBuild:
    rate: float = 1.0


class NoLoss(nn.Module):
    def sample(self, n_events, condition, *, rng): ...


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (pg.Diffusion, r"model must be settings such as pg\.Diffusion\(\)"),
        (NoBuild(), r"model must be settings such as .* got NoBuild"),
        ("diffusion", "model must be settings"),
        (NoLoss(), "NoLoss has no method 'loss'; a model of your own needs"),
        (nn.Linear(1, 1), "Linear has no method 'loss'"),
    ],
)
def test_models_that_are_refused(truth, model, message):
    with pytest.raises(TypeError, match=message):
        pg.Surrogate.fit(truth, model, steps=1, rng=0)


def test_events_that_are_refused(truth):
    def fit(events, **arguments):
        pg.Surrogate.fit(events, TINY, steps=1, rng=0, **arguments)

    with pytest.raises(SchemaError, match="9 events are too few to learn from; give at least 10"):
        fit(truth[:9])
    x = np.array(truth["x"])
    x[[4, 8]] = np.nan
    with pytest.raises(ValueError, match=r"x is NaN or infinite in 2 of 600 events \(first: 4, 8"):
        fit(truth.with_columns({"x": x}))
    fit(truth.with_columns({"x": x}), fields=["n"])
    with pytest.raises(SchemaError, match="no field 'y'"):
        fit(truth, fields=["y"])
    with pytest.raises(SchemaError, match="no field 'energi'; did you mean 'energy'"):
        fit(truth, conditions=["energi"])
    with pytest.raises(TypeError, match="fields and conditions are lists of names"):
        fit(truth, conditions="energy")
    with pytest.raises(TypeError, match="fields and conditions are lists of names"):
        fit(truth, fields="x")
    with pytest.raises(SchemaError, match="the condition 'Jet_pt' must be one number per event"):
        fit(truth, conditions=["Jet_pt"])
    with pytest.raises(SchemaError, match="'w' is the event weight; it cannot be a condition"):
        fit(truth, conditions=["w"])
    with pytest.raises(ValueError, match="event weights add up to 0"):
        fit(truth.with_columns({"w": np.zeros(600)}))


# ---------------------------------------------------------------- storage, seen from outside

FRESH = """
import sys, awkward as ak, numpy as np, physgen as pg
surrogate = pg.Surrogate.load(sys.argv[1])
fake = surrogate(300, {"energy": np.linspace(2, 9, 300), "code": 13}, rng=2)
np.savez(sys.argv[2], jets=ak.flatten(fake["Jet_pt"]).to_numpy(),
    counts=fake.multiplicity("Jet_pt"), **{n: fake[n] for n in ("energy", "x", "n", "w")})
"""


def test_a_fresh_process_makes_the_same_events_bit_for_bit(fitted, tmp_path):
    fitted.save(tmp_path / "run")
    command = [sys.executable, "-c", FRESH, str(tmp_path / "run"), str(tmp_path / "fake.npz")]
    subprocess.run(command, check=True)
    fake = fitted(300, {"energy": np.linspace(2, 9, 300), "code": 13}, rng=2)
    with np.load(tmp_path / "fake.npz") as stored:
        for name in ("energy", "x", "n", "w"):
            assert stored[name].tobytes() == fake[name].tobytes()
            assert stored[name].dtype == fake[name].dtype
        assert stored["jets"].tobytes() == ak.flatten(fake["Jet_pt"]).to_numpy().tobytes()
        assert (stored["counts"] == fake.multiplicity("Jet_pt")).all()


def test_everything_survives_save_and_load(fitted, tmp_path):
    fitted.save(tmp_path / "run")
    again = pg.Surrogate.load(tmp_path / "run")
    assert again.schema == fitted.schema
    assert again.settings == fitted.settings
    assert again.conditions == fitted.conditions
    assert again.mean_weight == fitted.mean_weight
    assert again.history == fitted.history
    assert again.info == fitted.info
    assert same(again(20, given(20), rng=5), fitted(20, given(20), rng=5))


def test_how_the_truth_was_sampled_is_not_said_of_the_surrogate():
    schema = pg.Schema((pg.Field("x"),), {"sampling": "metropolis", "spin_up": "+1"})
    truth = pg.Events(schema, {"x": np.random.default_rng(1).normal(size=200).astype(np.float32)})
    surrogate = pg.Surrogate.fit(truth, pg.VAE(), steps=5, rng=1)
    assert dict(surrogate(10, rng=2).schema.conventions) == {"spin_up": "+1"}
