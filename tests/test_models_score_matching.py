"""Score matching: what it learns of laws whose score is known, and events from there."""

import dataclasses

import pytest
import torch
from torch import nn

from physgen.mcmc import HMC, Langevin
from physgen.models import EBM, DenoisingScoreMatching, MLPEnergy, SlicedScoreMatching, TensorSpec
from physgen.models.ebm import EBMModel, score
from physgen.random import GeneratorRandom, PhiloxRandom, seeded_layers
from physgen.training import TrainingConfig, train

SMALL = {
    "denoising": DenoisingScoreMatching(n_steps_sample=6),
    "sliced": SlicedScoreMatching(n_projections=2, n_steps_sample=6),
}
every_objective = pytest.mark.parametrize("objective", SMALL.values(), ids=SMALL)
SPEC = TensorSpec(n_features=3, n_conditions=2)
MEAN = torch.tensor([0.3, -0.2])
COVARIANCE = torch.tensor([[0.5, 0.2], [0.2, 0.3]])
N_EVENTS = 50_000


class Quadratic(nn.Module):
    """f = x A x / 2 - b x, with which every Gaussian can be written."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.zeros(2, 2))
        self.b = nn.Parameter(torch.zeros(2))

    def forward(self, x, inputs):
        return ((x @ (self.a + self.a.T) / 2) * x).sum(1) / 2 - x @ self.b


def generator_random(seed=0):
    return GeneratorRandom(torch.Generator().manual_seed(seed))


def gauss(n_events=N_EVENTS, seed=1):
    noise = torch.randn(n_events, 2, generator=torch.Generator().manual_seed(seed))
    return MEAN + noise @ torch.linalg.cholesky(COVARIANCE).T


def gaussian_model(objective):
    model = EBMModel(
        EBM(objective=objective, learning_rate=0.03), TensorSpec(n_features=2), network=Quadratic()
    )
    config = TrainingConfig(steps=400, batch_size=1000, averaging=0.1, validation_fraction=0)
    train(model, gauss(), config=config, rng=1)
    return model


def mean_and_covariance(model):
    """Of the Gaussian with the model's energy, from its derivatives at the origin."""
    x = torch.zeros(1, 2, requires_grad=True)
    energy = lambda x: model.energy(x, torch.zeros(1, 0)).sum()
    covariance = torch.linalg.inv(torch.autograd.functional.hessian(energy, x)[0, :, 0])
    (slope,) = torch.autograd.grad(energy(x), x)
    return -covariance @ slope[0], covariance


@pytest.mark.parametrize("sigma", [0.3, 0.8])
def test_denoising_learns_the_score_of_the_smeared_law(sigma):
    """And neither that of the law itself nor that of another noise."""
    model = gaussian_model(DenoisingScoreMatching(sigma=sigma, sigma_max=sigma))
    mean, covariance = mean_and_covariance(model)
    smeared = COVARIANCE + sigma**2 * torch.eye(2)
    assert torch.allclose(mean, MEAN, atol=0.03)
    assert torch.allclose(covariance, smeared, rtol=0.05, atol=0.02)
    assert not torch.allclose(covariance, COVARIANCE, rtol=0.05, atol=0.02)


def test_sliced_learns_the_precision_itself(monkeypatch):
    mean, covariance = mean_and_covariance(gaussian_model(SlicedScoreMatching()))
    assert torch.allclose(mean, MEAN, atol=0.03)
    assert torch.allclose(covariance, COVARIANCE, rtol=0.05, atol=0.02)
    # one direction instead of a random one: the curvature is not its trace
    monkeypatch.setattr(score, "_directions", lambda x, _: torch.ones_like(x))
    mean, covariance = mean_and_covariance(gaussian_model(SlicedScoreMatching()))
    assert not torch.allclose(covariance, COVARIANCE, rtol=0.05, atol=0.02)


def test_samples_follow_the_energy_that_was_learned():
    """Started from noise, with every move tested: the law of the model, not of the data."""
    for objective in (
        DenoisingScoreMatching(sigma=0.4, sigma_max=2.0),
        SlicedScoreMatching(n_steps_sample=300),
    ):
        model = EBMModel(EBM(objective=objective), TensorSpec(n_features=2), network=Quadratic())
        model.network.b.data = torch.tensor([0.5, 0.0])
        model.network.a.data = torch.tensor([[0.6, 0.3], [0.3, 0.1]])
        mean, covariance = mean_and_covariance(model)
        n = 5000
        x = model.sample(n, torch.zeros(n, 0), rng=PhiloxRandom(1, torch.arange(n)))
        pull = (x.mean(0) - mean) / (covariance.diag() / n).sqrt()
        assert (pull.abs() < 4).all()
        # Wishart: the variance of an entry of the covariance is at most 2 c_ii c_jj / n
        width = (2 * covariance.diag()[:, None] * covariance.diag() / n).sqrt()
        assert ((x.T.cov() - covariance).abs() < 4 * width).all()


CENTERS = 1.2 * torch.tensor([[1.0, 0.0], [-0.5, 0.866], [-0.5, -0.866]])


def mixture(n_events, seed=0):
    """Three narrow Gaussians, one of them twice as frequent."""
    generator = torch.Generator().manual_seed(seed)
    mode = torch.randint(4, (n_events,), generator=generator).clamp(max=2)
    return CENTERS[mode] + 0.15 * torch.randn(n_events, 2, generator=generator)


def shares(x):
    distance, mode = torch.cdist(x, CENTERS).min(1)
    near = distance < 0.75
    return torch.bincount(mode[near], minlength=3) / len(x)


def mixture_shares(objective):
    settings = EBM(network=MLPEnergy(n_hidden=32), objective=objective, learning_rate=3e-3)
    with seeded_layers(0):
        model = settings.build(TensorSpec(n_features=2))
    config = TrainingConfig(steps=700, batch_size=256)
    train(model, mixture(20_000), config=config, rng=0)
    return shares(
        model.sample(1000, torch.zeros(1000, 0), rng=PhiloxRandom(2, torch.arange(1000)))
    )


def test_noise_levels_connect_the_modes():
    """One small level knows nothing of the weights of modes that are far apart."""
    truth = torch.tensor([0.25, 0.25, 0.5])
    levels = mixture_shares(DenoisingScoreMatching(sigma=0.05, n_steps_sample=100))
    assert ((levels - truth).abs() < 0.1).all(), levels
    one = mixture_shares(DenoisingScoreMatching(sigma=0.05, sigma_max=0.05, n_steps_sample=100))
    assert (one - truth).abs().max() > 0.1, one


def tiny(objective, seed=0, **changes):
    with seeded_layers(seed):
        return EBM(network=MLPEnergy(n_hidden=8), objective=objective, **changes).build(SPEC)


def draw(model, condition, events=None, **effort):
    events = torch.arange(len(condition)) if events is None else events
    return model.sample(len(condition), condition, rng=PhiloxRandom(5, events), **effort)


@every_objective
def test_events_depend_on_seed_number_and_condition_alone(objective):
    model, condition = tiny(objective), generator_random().normal(64, 2)
    together = draw(model, condition)
    assert together.shape == (64, 3)
    assert together.isfinite().all()
    assert torch.equal(together, draw(model, condition))
    shifted = torch.cat((condition[:32] + 1, condition[32:]))
    other = draw(model, shifted)
    assert torch.equal(other[32:], together[32:])
    assert not torch.equal(other[:32], together[:32])
    assert not torch.equal(draw(model, condition, n_steps=9), together)
    assert torch.equal(draw(model, condition, n_steps=6), together)


@every_objective
def test_every_parameter_gets_a_gradient_and_weights_are_all_there_is(objective):
    model, rng = tiny(objective), generator_random()
    loss = model.loss(rng.normal(32, 3), rng.normal(32, 2), player="ebm", rng=rng)
    assert loss.shape == (32,)
    loss.mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())
    again = tiny(objective, seed=1)
    again.load_state_dict(model.state_dict())
    condition = rng.normal(10, 2)
    assert torch.equal(draw(model, condition), draw(again, condition))


@every_objective
def test_a_look_shows_how_far_the_data_drift(objective):
    model, rng = tiny(objective), generator_random()
    x, condition = rng.normal(300, 3), rng.normal(300, 2)
    with torch.no_grad():
        found, warnings = model.diagnose(x, condition, rng=generator_random(1))
    assert set(found) == {
        "energy of data [nat]", "energy of chains [nat]", "energy gap [nat]", "acceptance",
        "divergent moves",
    }  # fmt: skip
    assert found["acceptance"] > 0.5
    assert warnings == []
    far, _ = model.diagnose(10 * x, condition, rng=generator_random(1))
    assert far["energy gap [nat]"] > 1 > abs(found["energy gap [nat]"])


@every_objective
@pytest.mark.parametrize("kernel", [Langevin(step_size=0.01), HMC(step_size=0.05, n_leapfrog=2)])
def test_any_kernel_of_numbers_serves(objective, kernel):
    model = tiny(objective, kernel=kernel)
    assert model.kernel is kernel
    assert draw(model, torch.zeros(8, 2)).isfinite().all()


def test_what_cannot_be_is_refused():
    spins = TensorSpec(n_features=3, binary=(True, False, False))
    for objective in SMALL.values():
        with pytest.raises(ValueError, match=r"ScoreMatching needs real .* 1 of the 3 are binary"):
            EBM(objective=objective).build(spins)
    for changes in ({"sigma": 0.0}, {"n_steps_sample": 0}, {"sigma_max": 0.01}):
        with pytest.raises(ValueError, match="DenoisingScoreMatching: "):
            dataclasses.replace(SMALL["denoising"], **changes)
    with pytest.raises(ValueError, match="SlicedScoreMatching: n_projections must be positive"):
        SlicedScoreMatching(n_projections=0)
