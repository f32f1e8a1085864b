"""Posterior sampling and completion against laws in closed form."""

import numpy as np
import pytest
import torch
from scipy import stats

from physgen.models.diffusion import EDM, Diffusion, DiffusionModel
from physgen.models.diffusion.posterior import posterior
from physgen.networks.mlp import Perceptron
from physgen.random import PhiloxRandom
from physgen.tensor_spec import Rows, TensorSpec

COVARIANCE = torch.tensor([[1.0, 0.8], [0.8, 1.0]])


class Normal(DiffusionModel):
    """The denoiser of a correlated normal law in closed form."""

    def denoise(self, y, sigma, condition):
        s2 = sigma[0, 0] ** 2
        return y @ torch.linalg.solve(COVARIANCE + s2 * torch.eye(2), COVARIANCE)


class Mixture(DiffusionModel):
    """Two modes at -1 and 1 of width 0.3, shares 0.3 and 0.7."""

    def denoise(self, y, sigma, condition):
        means, shares, v = torch.tensor([-1.0, 1.0]), torch.tensor([0.3, 0.7]), 0.09
        total = v + sigma**2
        share = (shares.log() - (y - means) ** 2 / (2 * total)).softmax(1)
        return (share * (means + v / total * (y - means))).sum(1, keepdim=True)


def exact(kind, n_features):
    settings = Diffusion(n_hidden=8, n_blocks=1, path=EDM(sigma_max=20.0, sigma_min=0.01))
    model = kind(settings, TensorSpec(n_features=n_features), Perceptron(n_hidden=8))
    model.sigma_data.fill_(1.0)
    return model


def drawn(model, log_likelihood, n=3000, **effort):
    rng = PhiloxRandom(1, torch.arange(n))
    effort = {"n_steps": 64, "n_particles": 32} | effort
    return posterior([model], torch.zeros(n, 0), log_likelihood, rng=rng, **effort)


def measurement(value, width):
    return lambda x, _: -((x[:, 0] - value) ** 2) / (2 * width**2)


@pytest.mark.parametrize("width", [0.1, 0.5, 2.0])
def test_a_normal_law_times_a_normal_likelihood(width):
    x, effective = drawn(exact(Normal, 2), measurement(1.5, width))
    gain = 1 / (1 + width**2)
    mean, variance = 1.5 * gain, width**2 * gain
    assert effective.min() > 3
    for column, m, v in ((x[:, 0], mean, variance), (x[:, 1], 0.8 * mean, 0.36 + 0.64 * variance)):
        assert column.mean().item() == pytest.approx(m, abs=5 * (v / len(x)) ** 0.5 + 0.01)
        assert column.std().item() == pytest.approx(v**0.5, rel=0.08)


def test_the_weights_are_needed():
    """One particle is guidance alone: it gets the shares of two modes wrong."""
    likelihood = measurement(0.2, 0.5)
    v = 0.09 + 0.25
    share = np.array([0.3, 0.7]) * stats.norm([-1.0, 1.0], v**0.5).pdf(0.2)
    wanted = share[1] / share.sum()
    x, _ = drawn(exact(Mixture, 1), likelihood, n=4000)
    found = (x[:, 0] > 0).float().mean().item()
    assert found == pytest.approx(wanted, abs=0.03)
    alone, _ = drawn(exact(Mixture, 1), likelihood, n=4000, n_particles=1)
    assert abs((alone[:, 0] > 0).float().mean().item() - wanted) > 0.03


def test_no_likelihood_is_the_prior():
    x, effective = drawn(exact(Normal, 2), lambda x, _: 0 * x[:, 0], n_particles=4)
    assert (effective > 3.99).all()
    assert x.T.cov().flatten().tolist() == pytest.approx(COVARIANCE.flatten().tolist(), abs=0.1)


def test_completion_is_the_conditional_law():
    n = 3000
    given = torch.linspace(-1.5, 1.5, n)
    x = torch.stack((given, torch.full((n,), 99.0)), 1)
    known = torch.tensor([True, False]).expand(n, 2)
    rng = PhiloxRandom(1, torch.arange(n))
    filled = exact(Normal, 2).complete(x, known, torch.zeros(n, 0), rng=rng)
    assert torch.equal(filled[:, 0], given)
    pulls = (filled[:, 1] - 0.8 * given) / 0.6
    assert pulls.mean().item() == pytest.approx(0, abs=0.08)
    assert pulls.std().item() == pytest.approx(1, abs=0.08)


def test_an_event_does_not_hang_on_the_others():
    model, likelihood = exact(Normal, 2), measurement(1.0, 0.5)
    whole, _ = drawn(model, likelihood, n=20)
    rng = PhiloxRandom(1, torch.arange(5, 9))
    part, _ = posterior(
        [model], torch.zeros(4, 0), likelihood, rng=rng, n_steps=64, n_particles=32
    )
    assert torch.allclose(whole[5:9], part, atol=1e-4)


class First(DiffusionModel):
    """A standard normal number."""

    def denoise(self, y, sigma, condition):
        return y / (1 + sigma**2)


class Second(DiffusionModel):
    """Normal around 0.8 of the first number, with a variance of 0.36."""

    def denoise(self, y, sigma, condition):
        return (0.36 * y + sigma**2 * 0.8 * condition) / (0.36 + sigma**2)


def test_a_likelihood_of_the_last_stage_reaches_the_first():
    """The law of the correlated pair, made in two stages, of which only the second is guided."""
    stages = [exact(First, 1), exact(Second, 1)]
    rng = PhiloxRandom(1, torch.arange(3000))
    x, _ = posterior(
        stages, torch.zeros(3000, 0), lambda x, _: measurement(1.5, 0.5)(x[:, 1:], _),
        rng=rng, n_steps=64, n_particles=64,
    )  # fmt: skip
    mean, variance = 1.5 / 1.25, 0.25 / 1.25
    for column, m, v in ((x[:, 1], mean, variance), (x[:, 0], 0.8 * mean, 0.36 + 0.64 * variance)):
        assert column.mean().item() == pytest.approx(m, abs=5 * (v / len(x)) ** 0.5 + 0.02)
        assert column.std().item() == pytest.approx(v**0.5, rel=0.08)


def test_rows_that_an_event_has_not_stay_zero():
    spec = TensorSpec(n_features=4, n_conditions=1, shape=(2, 2), rows=Rows(0, 1.0, 1.0))
    model = Diffusion(n_hidden=8, n_blocks=1).build(spec)
    condition = torch.tensor([[0.0], [1.0]])  # one row, and two
    rng = PhiloxRandom(1, torch.arange(2))
    x, _ = posterior([model], condition, measurement(0.5, 1.0), rng=rng, n_steps=8, n_particles=4)
    assert ((x != 0) == (spec.mask(condition) == 1)).all()


def test_levels_that_do_not_end_at_0_are_refused(monkeypatch):
    model = exact(Normal, 2)
    monkeypatch.setattr(model, "levels", lambda *_: torch.tensor([2.0, 1.0]))
    with pytest.raises(ValueError, match="the noise levels must end at 0"):
        drawn(model, measurement(1.0, 1.0), n=2)
