"""Posterior events in the units of a file, against importance weights on the truth."""

import numpy as np
import pytest
import torch

import physgen as pg
from physgen.bayes import posterior


def truth(n, seed):
    """Two positive columns with a correlation, given a condition."""
    rng = np.random.default_rng(seed)
    c = np.append(rng.uniform(0, 1, n - 2), (0.0, 1.0))
    z = rng.normal(size=(2, n))
    a = np.exp(0.3 * z[0] + c)
    events = pg.Events.from_dict({"a": a, "b": 2 * a + z[1], "c": c})
    return events.replace_schema(events.schema.with_roles(conditions=["c"]))


@pytest.fixture(scope="module")
def surrogate():
    settings = pg.Diffusion(n_hidden=48, n_blocks=2)
    return pg.Surrogate.fit(truth(8000, 0), settings, steps=800, rng=1)


def sum_is(value, width):
    return lambda columns: -((columns["a"] + columns["b"] - value) ** 2) / (2 * width**2)


def test_events_explain_a_measured_sum(surrogate):
    """Against the truth under weights L, at one condition."""
    rng = np.random.default_rng(5)
    a = np.exp(0.3 * rng.normal(size=400_000) + 0.5)
    b = 2 * a + rng.normal(size=400_000)
    weight = np.exp(-((a + b - 7.0) ** 2) / (2 * 0.5**2))
    found = posterior(
        surrogate, 300, sum_is(7.0, 0.5), {"c": 0.5}, rng=2, n_steps=48, n_particles=24
    )
    assert "effective" in found.schema.conventions["posterior"]
    for name, column in (("a", a), ("b", b)):
        mean = np.average(column, weights=weight)
        spread = np.average((column - mean) ** 2, weights=weight) ** 0.5
        assert found[name].mean() == pytest.approx(mean, abs=0.2 * spread + 4 * spread / 300**0.5)
        assert found[name].std() == pytest.approx(spread, rel=0.25)
    # the control: the prior is elsewhere
    prior = surrogate(300, {"c": 0.5}, rng=2)
    assert abs(prior["a"].mean() - np.average(a, weights=weight)) > 0.2


def test_an_event_depends_on_its_number_alone(surrogate):
    whole = posterior(surrogate, 70, sum_is(6.0, 1.0), {"c": 0.5}, rng=2, n_steps=8, n_particles=4)
    part = posterior(surrogate, 10, sum_is(6.0, 1.0), {"c": 0.5}, rng=2, n_steps=8, n_particles=4)
    assert np.array_equal(whole["a"][:10], part["a"])


def test_a_likelihood_without_gradient_weighs(surrogate):
    def selected(columns):
        return torch.where(columns["a"].detach() > 2.0, 0.0, -1e3)

    found = posterior(surrogate, 64, selected, {"c": 0.5}, rng=2, n_steps=32)
    assert np.mean(found["a"] > 2.0) > 0.95


def test_what_it_says_and_refuses(surrogate):
    few = posterior(surrogate, 5, sum_is(30.0, 0.05), {"c": 0.1}, rng=1, n_steps=4, n_particles=4)
    assert "use more particles" in few.schema.conventions["posterior"]
    with pytest.raises(ValueError, match="one number per event"):
        posterior(surrogate, 5, lambda columns: columns["a"].sum(), {"c": 0.5}, rng=1)
    with pytest.raises(pg.ConditionError, match="needs the condition"):
        posterior(surrogate, 5, sum_is(1.0, 1.0), rng=1)
    gan = pg.Surrogate.fit(truth(200, 0), pg.GAN(n_hidden=8), steps=2, rng=1)
    with pytest.raises(TypeError, match="is no diffusion model: only"):
        posterior(gan, 5, sum_is(1.0, 1.0), {"c": 0.5}, rng=1)
