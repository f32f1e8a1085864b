"""What a surrogate says about given events: probabilities, ln Z, and their unknown parts."""

import itertools
import math

import awkward as ak
import numpy as np
import pytest
import torch

import physgen as pg
from physgen.models import CD, TensorSpec
from physgen.schema import Field, Schema
from physgen.transforms import Linear

SPINS = np.array(list(itertools.product((-1, 1), repeat=6)), dtype=np.int8).reshape(-1, 2, 3)


def spins(n_events, seed=0):
    """Six spins in a field, two of them equal in nine of ten events."""
    rng = np.random.default_rng(seed)
    s = np.where(rng.random((n_events, 2, 3)) < 0.7, 1, -1)
    s[:, 0, 0] = np.where(rng.random(n_events) < 0.9, s[:, 1, 1], -s[:, 1, 1])
    return s.astype(np.int8)


@pytest.fixture(scope="module")
def fitted():
    truth = pg.Events.from_dict({"spins": spins(4000)})
    return pg.Surrogate.fit(truth, pg.RBM(n_hidden=4), steps=400, rng=1)


@pytest.fixture(scope="module")
def conditional():
    rng = np.random.default_rng(1)
    beta = rng.uniform(0.2, 1.0, 4000)
    first = np.where(rng.random(4000) < 0.5, 1, -1)
    second = np.where(rng.random(4000) < (1 + np.tanh(beta)) / 2, first, -first)
    truth = pg.Events.from_dict({"s": np.stack((first, second), 1).astype(np.int8), "beta": beta})
    return pg.Surrogate.fit(truth, pg.RBM(n_hidden=3), conditions=["beta"], steps=600, rng=1)


def test_probabilities_of_all_states_add_up_to_one(fitted):
    log_p = fitted.log_prob({"spins": SPINS})
    assert log_p.shape == (64,)
    assert log_p.dtype == np.float64
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-5)
    as_events = fitted.log_prob(pg.Events.from_dict({"spins": SPINS}))
    assert np.array_equal(as_events, log_p)
    # near the truth: the states that were seen often are probable
    seen = spins(4000, seed=2)
    assert fitted.log_prob({"spins": seen}).mean() > -math.log(64) + 0.5


def test_ln_z_says_how_it_was_found(fitted):
    exact = fitted.log_z()
    assert exact.std_error == 0
    assert exact.note == "exact"
    assert math.isnan(exact.floor)
    assert "exact" in str(exact)
    estimate = fitted.log_z(method="ais", n_chains=500, n_betas=200, rng=3)
    assert 0 < estimate.std_error < 0.1
    assert abs(estimate.value - exact.value) < 4 * estimate.std_error
    assert "ais" in str(estimate)
    with pytest.raises(ValueError, match="method must be one of automatic, exact"):
        fitted.log_z(method="guess")


def test_probabilities_under_conditions(conditional):
    states = np.array(list(itertools.product((-1, 1), repeat=2)), dtype=np.int8)
    equal = []
    for beta in (0.3, 0.9):
        log_p = conditional.log_prob({"s": states, "beta": np.full(4, beta)})
        assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-5)
        equal.append(np.exp(log_p[[0, 3]]).sum())
    assert equal[0] == pytest.approx((1 + math.tanh(0.3)) / 2, abs=0.05)
    assert equal[1] == pytest.approx((1 + math.tanh(0.9)) / 2, abs=0.05)
    assert conditional.log_z({"beta": 0.3}).value != conditional.log_z({"beta": 0.9}).value
    with pytest.raises(pg.ConditionError, match=r"needs the condition\(s\) beta"):
        conditional.log_z()
    with pytest.raises(pg.ConditionError, match=r"outside the trained range"):
        conditional.log_z({"beta": 2.0})


def test_a_density_is_per_unit_of_the_file():
    rng = np.random.default_rng(0)
    x = rng.normal(50, 8, 5000)
    truth = pg.Events.from_dict({"x": x})
    surrogate = pg.Surrogate.fit(
        truth, pg.RBM(n_hidden=4), transforms={"x": Linear()}, steps=300, rng=1
    )
    grid = np.linspace(-50, 150, 20_001)
    total = np.exp(surrogate.log_prob({"x": grid})).sum() * 0.01
    assert total == pytest.approx(1, abs=1e-3)
    skewed = pg.Events.from_dict({"x": np.exp(rng.normal(size=500))})
    other = pg.Surrogate.fit(skewed, pg.RBM(n_hidden=2), steps=5, rng=1)
    with pytest.raises(ValueError, match=r"'x' went through Log; fit with transforms"):
        other.log_prob(skewed)


def test_events_that_do_not_fit_are_refused(fitted):
    with pytest.raises(ValueError, match=r"spins holds 3 values that the surrogate does not know"):
        fitted.log_prob({"spins": np.where(np.arange(6) < 3, 0, 1).reshape(1, 2, 3)})
    with pytest.raises(pg.SchemaError, match=r"no field 'spins' in the events given"):
        fitted.log_prob({"spin": SPINS})
    with pytest.raises(pg.SchemaError, match="shape"):
        fitted.log_prob({"spins": SPINS.reshape(-1, 6)})


def test_models_without_a_density_say_so():
    truth = pg.Events.from_dict({"spins": spins(200)})
    vae = pg.Surrogate.fit(truth, pg.VAE(n_hidden=8), steps=2, rng=0)
    with pytest.raises(TypeError, match="VAEModel has no log_prob"):
        vae.log_prob(truth)
    with pytest.raises(TypeError, match="VAEModel has no partition function"):
        vae.log_z()
    with pytest.raises(TypeError, match="VAEModel cannot complete events"):
        vae.complete(truth, {}, rng=0)
    with pytest.raises(TypeError, match=r"VAEModel.sample does not take .n_steps. \(it takes"):
        vae(3, rng=0, n_steps=5)


def test_stages_without_a_density_say_so():
    stages = (TensorSpec(n_features=1), TensorSpec(n_features=1, n_conditions=1))
    model = pg.GAN(n_hidden=4).build(TensorSpec(n_features=2, stages=stages))
    with pytest.raises(TypeError, match="GANModel has no log_prob"):
        model.log_prob(torch.zeros(3, 2), torch.zeros(3, 0))


def test_the_sampling_effort_is_an_argument(fitted):
    few, many = fitted(20, rng=3, n_steps=1), fitted(20, rng=3, n_steps=30)
    assert not np.array_equal(few["spins"], many["spins"])
    assert np.array_equal(many["spins"], fitted(20, rng=3, n_steps=30)["spins"])
    assert np.array_equal(many["spins"][:7], fitted(7, rng=3, n_steps=30)["spins"])
    assert len(fitted(5, rng=3, n_steps=3, sampler="ptt")) == 5
    with pytest.raises(ValueError, match="n_steps must be at least 1, got 0"):
        fitted(5, rng=3, n_steps=0)
    with pytest.raises(ValueError, match="sampler must be 'gibbs', 'pt' or 'ptt', got 'nuts'"):
        fitted(5, rng=3, sampler="nuts")


def test_completed_events_follow_the_conditional_law(fitted):
    """All but one spin known: its mean is a ratio of two probabilities."""
    known = np.ones((2, 3), dtype=bool)
    known[0, 0] = False
    given = np.repeat(SPINS[[5, 40]], 4000, axis=0)
    made = fitted.complete({"spins": given}, {"spins": known}, rng=2, n_steps=30)["spins"]
    assert np.array_equal(made[:, known], given[:, known])
    assert made.dtype == np.int8
    for state, part in zip(SPINS[[5, 40]], made.reshape(2, 4000, 2, 3), strict=True):
        up, down = state.copy(), state.copy()
        up[0, 0], down[0, 0] = 1, -1
        log_up, log_down = fitted.log_prob({"spins": np.stack((up, down))})
        p = 1 / (1 + math.exp(log_down - log_up))
        found = (part[:, 0, 0] == 1).mean()
        assert abs(found - p) < 4 * math.sqrt(p * (1 - p) / 4000)
        # and not the law of the spin alone
        alone = (fitted(4000, rng=5)["spins"][:, 0, 0] == 1).mean()
        assert abs(found - alone) > 4 * math.sqrt(0.5 / 4000)


def test_lists_have_no_density():
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, 200)
    truth = pg.Events.from_dict({"J": ak.unflatten(rng.normal(size=counts.sum()), counts)})
    surrogate = pg.Surrogate.fit(truth, pg.RBM(n_hidden=2), steps=2, rng=1)
    with pytest.raises(ValueError, match="log_prob knows no jagged columns: J"):
        surrogate.log_prob(truth)


def test_unknown_entries_may_hold_anything_and_masks_are_checked(fitted):
    known = np.zeros((2, 3), dtype=bool)
    known[1] = True
    zeros = np.where(known, SPINS[:9], 0).astype(np.int8)
    made = fitted.complete({"spins": zeros}, {"spins": known}, rng=1)
    assert set(np.unique(made["spins"])) == {-1, 1}
    assert np.array_equal(made["spins"][:, 1], SPINS[:9, 1])
    again = fitted.complete({"spins": zeros[:4]}, {"spins": known}, rng=1)
    assert np.array_equal(again["spins"], made["spins"][:4])
    with pytest.raises(ValueError, match=r"mask of 'spins' must hold booleans of shape \(2, 3\)"):
        fitted.complete({"spins": zeros}, {"spins": known[0]}, rng=1)
    with pytest.raises(pg.SchemaError, match="no field 'spin'"):
        fitted.complete({"spins": zeros}, {"spin": True}, rng=1)


POTTS = Schema((Field("color", "int8", shape=(2, 2), allowed=(0, 1, 2)),))


def potts(n_events):
    """Four sites of three colors; neighbors on a row agree in eight of ten events."""
    rng = np.random.default_rng(4)
    color = rng.integers(3, size=(n_events, 2, 2))
    same = rng.random((n_events, 2)) < 0.7
    color[:, :, 1] = np.where(same, color[:, :, 0], color[:, :, 1])
    return pg.Events(POTTS, {"color": color.astype(np.int8)})


def test_categories_become_potts_units():
    truth = potts(6000)
    surrogate = pg.Surrogate.fit(truth, pg.RBM(n_hidden=16), steps=350, rng=1)
    spec = surrogate.preprocessor.spec
    assert spec.one_hot == ((0, 3), (3, 3), (6, 3), (9, 3))
    assert spec.n_features == 12
    made = surrogate(4000, rng=2)["color"]
    assert set(np.unique(made)) == {0, 1, 2}
    assert (made[:, 0, 0] == made[:, 0, 1]).mean() == pytest.approx(0.8, abs=0.04)
    assert (made[:, 0, 0] == made[:, 1, 0]).mean() == pytest.approx(1 / 3, abs=0.05)
    states = np.array(list(itertools.product(range(3), repeat=4)), dtype=np.int8)
    log_p = surrogate.log_prob({"color": states.reshape(-1, 2, 2)})
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-5)
    known = np.array([[True, False], [True, False]])
    completed = surrogate.complete(truth[:3000], {"color": known}, rng=3)["color"]
    assert np.array_equal(completed[:, :, 0], truth["color"][:3000, :, 0])
    assert (completed[:, 0, 0] == completed[:, 0, 1]).mean() == pytest.approx(0.8, abs=0.04)


def test_only_machines_with_such_units_get_them():
    vae = pg.Surrogate.fit(potts(200), pg.VAE(n_hidden=8), steps=2, rng=0)
    assert vae.preprocessor.spec.one_hot == ()
    for settings in (pg.VAE(), pg.GAN(), pg.Diffusion(), pg.EBM()):
        with pytest.raises(ValueError, match="cannot keep exactly one of a unit's 3 values"):
            settings.build(TensorSpec(n_features=3, binary=(True,) * 3, one_hot=((0, 3),)))


def test_a_condition_of_one_value_need_not_be_given():
    truth = pg.Events.from_dict({"s": spins(500), "beta": np.full(500, 0.44)})
    settings = pg.RBM(n_hidden=2, chains=CD(n_chains=16))
    surrogate = pg.Surrogate.fit(truth, settings, conditions=["beta"], steps=3, rng=0)
    made = surrogate(7, rng=1)
    assert (made["beta"] == 0.44).all()
    assert np.array_equal(made["s"], surrogate(7, {"beta": 0.44}, rng=1)["s"])
    assert surrogate.log_z().note == "exact"
    with pytest.raises(pg.ConditionError, match="outside the trained"):
        surrogate(7, {"beta": 0.5}, rng=1)


class Runaway(torch.nn.Module):
    """Learns well for a while, then says that it diverges, whatever the rate."""

    def __init__(self):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.zeros(1))
        self.calls = 0

    def loss(self, x, condition, *, player, rng):
        self.calls += 1
        if self.calls > 250:
            raise FloatingPointError("the energy runs away")
        return (x - self.mean).square().sum(1)

    def sample(self, n_events, condition, *, rng):
        return self.mean + rng.normal(n_events, 1)


def test_a_training_that_diverges_hands_over_its_last_good_state():
    truth = pg.Events.from_dict({"x": np.random.default_rng(0).normal(size=500)})
    with pytest.raises(pg.TrainingError, match="the energy runs away") as caught:
        pg.Surrogate.fit(truth, Runaway(), steps=2000, rng=0)
    saved = caught.value.surrogate
    assert len(saved(10, rng=1)) == 10
    assert np.isfinite(float(saved.model.mean.detach()))


def test_conditions_are_checked_as_for_a_sample(conditional):
    pair = {"s": np.ones((5, 2), dtype=np.int8)}
    one = conditional.log_prob(pair | {"beta": 0.5})
    assert np.array_equal(one, conditional.log_prob(pair | {"beta": np.full(5, 0.5)}))
    known = {"s": np.array([True, False])}
    for ask in (conditional.log_prob, lambda e: conditional.complete(e, known, rng=0)):
        with pytest.raises(pg.ConditionError, match="outside the trained range"):
            ask(pair | {"beta": 5.0})
        with pytest.raises(pg.ConditionError, match=r"needs the condition\(s\) beta"):
            ask(pair)
    beyond = conditional.log_prob(pair | {"beta": 1.2}, extrapolate=True)
    assert beyond.shape == (5,)
    assert conditional.log_z({"beta": 1.2}, extrapolate=True).note == "exact"


def test_what_is_said_of_an_event_does_not_depend_on_the_others():
    rng = np.random.default_rng(0)
    truth = pg.Events.from_dict({"x": rng.normal(size=(600, 40))})
    surrogate = pg.Surrogate.fit(truth, pg.RBM(n_hidden=16), steps=20, rng=1)
    known = {"x": np.arange(40) < 20}
    whole = surrogate.complete(truth, known, rng=2, n_steps=5)
    log_p = surrogate.log_prob(truth)
    for n in (1, 2, 257, 599):
        assert np.array_equal(surrogate.log_prob(truth[:n]), log_p[:n])
        part = surrogate.complete(truth[:n], known, rng=2, n_steps=5)
        assert np.array_equal(part["x"], whole["x"][:n])
    assert np.array_equal(whole["x"][:, :20], truth["x"][:, :20])


def test_arguments_that_a_method_does_not_take_are_named(fitted):
    with pytest.raises(TypeError, match=r"RBMModel\.log_z does not take 'nchains'"):
        fitted.log_z(nchains=3)
    with pytest.raises(TypeError, match=r"RBMModel\.complete does not take 'sampler' \(it takes"):
        fitted.complete({"spins": SPINS}, {}, rng=0, sampler="ptt")


def test_an_error_that_cannot_be_trusted_says_so(fitted):
    few = fitted.log_z(method="ais", n_chains=20, n_betas=5)
    assert "chains effective: the error is too small" in few.note


def test_the_sum_over_all_states_is_made_once_for_all_blocks(fitted, monkeypatch):
    from physgen.models.rbm import partition

    calls, enumerated = [], partition.enumerated
    monkeypatch.setattr(partition, "enumerated", lambda *a: calls.append(1) or enumerated(*a))
    monkeypatch.setattr(fitted.model, "_known", (torch.zeros(0), {}))
    fitted.log_prob({"spins": spins(1000)})
    assert len(calls) == 1


def test_the_description_tells_what_the_last_look_showed(fitted):
    assert "log_likelihood" in fitted.describe()
    assert "reconstruction_error" in fitted.describe()
