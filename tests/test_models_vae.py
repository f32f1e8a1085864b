"""The variational autoencoder: its terms against torch.distributions and against integrals."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Categorical,
    MixtureSameFamily,
    Normal,
    kl_divergence,
)

import physgen as pg
from physgen.models import VAE, TensorSpec, settings_from_dict, settings_to_dict
from physgen.models.prior import AutoregressiveMixture, FlowPrior, MixturePrior
from physgen.models.vae import GaussianDecoder, GrayDecoder, MixtureDecoder, ZeroInflated
from physgen.models.vae.model import _kl_to_normal
from physgen.networks.mlp import Perceptron
from physgen.networks.set_transformer import SetTransformer
from physgen.networks.unet import UNet
from physgen.networks.voxel_transformer import VoxelTransformer
from physgen.random import GeneratorRandom, PhiloxRandom, seeded_layers
from physgen.tensor_spec import Rows
from physgen.training import TrainingConfig, train

MIXED = TensorSpec(n_features=3, n_conditions=1, binary=(False, True, False))


def generator_random(seed=0):
    return GeneratorRandom(torch.Generator().manual_seed(seed))


def small_vae(spec=MIXED, **changes):
    with seeded_layers(0):
        return VAE(**({"n_hidden": 16, "n_layers": 2} | changes)).build(spec)


def small_prior(n_latent, n_conditions=0):
    with seeded_layers(3):
        prior = AutoregressiveMixture(n_latent, n_conditions, n_components=4, n_hidden=32)
        with torch.no_grad():
            for parameter in prior.parameters():
                parameter.mul_(2)
    return prior


def test_divergence_is_analytic():
    mu, log_variance = torch.randn(50, 4), torch.randn(50, 4)
    expected = kl_divergence(Normal(mu, (log_variance / 2).exp()), Normal(0.0, 1.0))
    assert torch.allclose(_kl_to_normal(mu, log_variance), expected, atol=1e-5)


def test_likelihood_of_the_decoder():
    model = small_vae()
    x = torch.tensor([[0.3, -1.0, -0.7], [1.2, 1.0, 0.1]])
    z, c = torch.randn(2, 3), torch.randn(2, 1)
    mean, log_variance, _ = model.decoder.parts(z, c)
    gauss = Normal(mean, (log_variance / 2).exp()).log_prob(x)
    spin = Bernoulli(logits=mean[:, 1]).log_prob((x[:, 1] + 1) / 2)
    expected = gauss[:, 0] + spin + gauss[:, 2]
    assert torch.allclose(model.decoder.log_prob(x, z, c), expected, atol=1e-5)


def test_elbo_is_a_bound_and_tightens_with_draws():
    """The mean over draws of z of the weight p(x, z) / q(z) is p(x) itself; its log is larger."""
    model = small_vae(TensorSpec(n_features=1))
    x = torch.tensor([[0.4]]).expand(20_000, 1)
    c = torch.zeros(20_000, 0)
    log_weight = model.elbo(x, c, rng=generator_random()).detach().double()
    z, mu, log_variance = model._latent(x, c, generator_random())
    q = Normal(mu, (log_variance / 2).exp()).log_prob(z).sum(1)
    exact = model.decoder.log_prob(x, z, c) + model.prior.log_prob(z, c) - q
    importance = torch.logsumexp(exact.detach().double(), 0) - math.log(20_000)
    assert log_weight.mean() < importance
    assert abs(float(log_weight.mean() - exact.detach().double().mean())) < 0.1


def test_free_bits_stop_the_divergence():
    model = small_vae(free_bits=40.0)
    x, c = torch.randn(10, 3).sign(), torch.randn(10, 1)
    loss = model.loss(x, c, player="vae", rng=generator_random())
    z, _, _ = model._latent(x, c, generator_random())
    expected = 3 * 40 * math.log(2) * model.settings.kl_weight - model.decoder.log_prob(x, z, c)
    assert torch.allclose(loss, expected, atol=1e-3)


def test_prior_is_a_density():
    """One and two coordinates: the sum over a fine grid is 1."""
    grid = torch.linspace(-25, 25, 1001)
    one = small_prior(1).log_prob(grid[:, None], torch.zeros(1001, 0)).exp().sum() * 0.05
    assert one.item() == pytest.approx(1, abs=1e-3)
    both = torch.cartesian_prod(grid, grid)
    condition = torch.full((len(both), 1), 0.7)
    two = small_prior(2, n_conditions=1).log_prob(both, condition).exp().sum() * 0.05**2
    assert two.item() == pytest.approx(1, abs=5e-3)


def test_prior_looks_only_back():
    """The mixture of coordinate i has no gradient with respect to z_i, z_(i+1), ..."""
    prior = small_prior(4, n_conditions=2)
    z = torch.randn(1, 4, requires_grad=True)
    condition = torch.randn(1, 2, requires_grad=True)
    for i in range(4):
        mean = prior._components(z, condition)[1][0, i].sum()
        by_z, by_condition = torch.autograd.grad(mean, (z, condition))
        assert (by_z[0, i:] == 0).all()
        assert (by_z[0, :i] != 0).all()
        assert (by_condition != 0).all()


def test_prior_samples_its_density():
    prior = small_prior(2, n_conditions=1)
    n = 20_000
    condition = torch.full((n, 1), -0.5)
    with torch.no_grad():
        z = prior.sample(n, condition, rng=PhiloxRandom(1, torch.arange(n)))
    grid = torch.linspace(-25, 25, 1001)
    both = torch.cartesian_prod(grid, grid)
    p = prior.log_prob(both, torch.full((len(both), 1), -0.5)).exp().detach() * 0.05**2
    for i in range(2):
        mean = (p * both[:, i]).sum()
        variance = (p * both[:, i].square()).sum() - mean**2
        assert abs(z[:, i].mean() - mean) < 5 * (variance / n).sqrt()
    product = both.prod(1)
    spread = ((p * product.square()).sum() / n).sqrt()
    assert abs(z.prod(1).mean() - (p * product).sum()) < 5 * spread


# ---------------------------------------------------------------- the bound on ln p(x)


class Normals(torch.nn.Module):
    """N(0, 1) in every latent variable."""

    def log_prob(self, z, condition):
        return Normal(0.0, 1.0).log_prob(z).sum(1)


def linear_gaussian():
    """x = W z + s e with three features and two latent variables, and an encoder that is off."""
    model = small_vae(
        TensorSpec(n_features=3), n_latent=2, decoder=GaussianDecoder(scale="feature")
    )
    with seeded_layers(1):
        model.decoder.network = torch.nn.Linear(2, 3)
        model.encoder = torch.nn.Linear(3, 4)
    model.prior = Normals()
    with torch.no_grad():
        model.encoder.weight.zero_()  # wider than the true law of z given x: the weights are tame
        model.encoder.bias.zero_()
        model.decoder.log_variance.fill_(math.log(0.5) / 10)
    w, b = model.decoder.network.weight.detach(), model.decoder.network.bias.detach()
    _, log_variance, _ = model.decoder.parts(torch.zeros(1, 2), torch.zeros(1, 0))
    covariance = w @ w.T + log_variance.exp()[0].detach().diag()
    return model, torch.distributions.MultivariateNormal(b, covariance)


def test_the_bound_rises_to_the_exact_likelihood():
    model, law = linear_gaussian()
    with seeded_layers(2):
        x = law.sample((2000,))
    c = torch.zeros(2000, 0)
    exact = law.log_prob(x).double()
    gaps = {}
    for n_samples in (2, 16, 512):
        bound = model.log_prob_bound(x, c, n_samples=n_samples, rng=n_samples)
        difference = bound.value - exact
        gaps[n_samples] = -float(difference.mean())
        if n_samples == 512:
            pulls = difference / bound.std_error
            assert abs(float(pulls.mean())) < 0.4
            assert 0.8 < float(pulls.std()) < 1.5
            half_variance = float(bound.std_error.square().mean() / 2)
            error = float(difference.std()) / math.sqrt(2000)
            assert abs(gaps[512] - half_variance) < 4 * error + 0.2 * half_variance
    assert gaps[2] > 4 * gaps[16] > 0
    assert gaps[16] > 4 * abs(gaps[512])
    assert gaps[2] > 0.05


def test_one_sample_is_no_bound_with_an_error():
    model, _ = linear_gaussian()
    with pytest.raises(ValueError, match="n_samples must be at least 2, got 1"):
        model.log_prob_bound(torch.zeros(1, 3), torch.zeros(1, 0), n_samples=1, rng=0)


# ---------------------------------------------------------------- the flow


class Turned(torch.nn.Module):
    """v = A z."""

    matrix = torch.tensor([[0.5, 0.8], [-0.3, 0.1]])

    def forward(self, z, context):
        return z @ self.matrix.T


def small_flow(n_latent=2, n_conditions=0, **changes):
    with seeded_layers(3):
        return FlowPrior(**changes).build(n_latent, n_conditions, n_hidden=32)


def test_the_density_of_a_linear_flow_is_exact():
    """z = exp(A) e, a Gaussian."""
    flow = small_flow(n_steps=12)
    flow.network = Turned()
    root = torch.matrix_exp(Turned.matrix)
    law = torch.distributions.MultivariateNormal(torch.zeros(2), root @ root.T)
    z = 2 * torch.randn(50, 2)
    assert torch.allclose(flow.log_prob(z, torch.zeros(50, 0)), law.log_prob(z), atol=2e-3)
    e = PhiloxRandom(0, torch.arange(50)).normal(50, 2)
    made = flow.sample(50, torch.zeros(50, 0), rng=PhiloxRandom(0, torch.arange(50)))
    assert torch.allclose(made, e @ root.T, atol=2e-3)


def shifted_bumps(n, seed=0):
    """Latent variables at +-1 with width 0.3, and one that follows the condition."""
    rng = generator_random(seed)
    c = rng.uniform(n, 1) * 2 - 1
    side = torch.where(rng.uniform(n, 1) < 0.5, -1.0, 1.0)
    return torch.cat((side + 0.3 * rng.normal(n, 1), c + 0.5 * rng.normal(n, 1)), dim=1), c


def test_a_flow_learns_a_law_and_knows_its_density():
    flow = small_flow(n_conditions=1)
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    z, c = shifted_bumps(20_000)
    rng = generator_random(1)
    untrained = flow.log_prob(z[:500], c[:500]).mean()
    for k in range(400):
        rows = slice(k % 78 * 256, k % 78 * 256 + 256)
        optimizer.zero_grad()
        flow.loss(z[rows], c[rows], rng=rng).mean().backward()
        optimizer.step()
    z, c = shifted_bumps(500, seed=5)
    bumps = Normal(torch.tensor([-1.0, 1.0]), 0.3).log_prob(z[:, :1]).logsumexp(1) - math.log(2)
    exact = (bumps + Normal(c[:, 0], 0.5).log_prob(z[:, 1])).mean()
    found = flow.log_prob(z, c).mean()
    assert exact - 0.15 < found < exact + 0.05
    assert untrained < exact - 0.5
    with torch.no_grad():
        y = flow.sample(4000, torch.full((4000, 1), 0.8), rng=generator_random(6))
    assert abs(float(y[:, 1].mean()) - 0.8) < 0.1
    assert abs(float(y[:, 0].abs().mean()) - 1) < 0.1
    assert float((y[:, 0].abs() < 0.4).float().mean()) < 0.15


@pytest.mark.parametrize("prior", [MixturePrior(n_components=4), FlowPrior(n_steps=6)])
def test_either_prior_serves(prior):
    model = small_vae(prior=prior)
    settings = model.settings
    assert settings_from_dict(settings_to_dict(settings)) == settings
    x, c = torch.randn(64, 3).sign(), torch.randn(64, 1)
    for player in model.players():
        assert model.loss(x, c, player=player, rng=generator_random()).shape == (64,)
    assert torch.isfinite(model.elbo(x, c, rng=generator_random())).all()


# ---------------------------------------------------------------- decoders


def spiked(n, seed=0):
    """Zero in 80 % of the events where the condition is 1, in 20 % where it is -1."""
    rng = generator_random(seed)
    c = torch.where(rng.uniform(n, 1) < 0.5, -1.0, 1.0)
    empty = rng.uniform(n, 1) < 0.5 + 0.3 * c
    x = torch.where(empty, 0.0, 1.5 + 0.2 * rng.normal(n, 1))
    return torch.cat((x, rng.normal(n, 1)), dim=1), c


def test_a_value_that_repeats_is_made_as_often():
    x, c = spiked(8000)
    spec = TensorSpec(n_features=2, n_conditions=1)
    shares = {}
    for decoder in (ZeroInflated(), GaussianDecoder()):
        model = small_vae(spec, n_hidden=32, decoder=decoder)
        train(model, x, c, config=TrainingConfig(steps=400, batch_size=128), rng=0)
        y = model.sample(4000, torch.ones(4000, 1), rng=generator_random(1))
        shares[type(decoder)] = float((y[:, 0] == 0).float().mean())
    assert abs(shares[ZeroInflated] - 0.8) < 0.05
    assert shares[GaussianDecoder] == 0
    model = small_vae(spec, decoder=ZeroInflated())
    model.decoder.look(x[:512])
    assert model.decoder.repeats.tolist() == [True, False]
    assert model.decoder.spike[0] == 0


def test_likelihood_with_a_spike():
    model = small_vae(TensorSpec(n_features=2, n_conditions=1), decoder=ZeroInflated())
    model.decoder.spike[0], model.decoder.repeats[0] = -1.5, True
    x, z, c = torch.tensor([[-1.5, 0.3], [0.2, 0.3]]), torch.randn(2, 2), torch.randn(2, 1)
    mean, log_variance, logit = model.decoder.parts(z, c)
    gauss = Normal(mean, (log_variance / 2).exp()).log_prob(x)
    spike = Bernoulli(logits=logit[:, 0])
    expected = [
        spike.log_prob(torch.ones(2))[0] + gauss[0, 1],
        spike.log_prob(torch.zeros(2))[1] + gauss[1].sum(),
    ]
    assert torch.allclose(model.decoder.log_prob(x, z, c), torch.stack(expected), atol=1e-5)


def test_one_width_per_feature_is_that_of_the_noise():
    """What a latent variable too few cannot tell is noise of known width."""
    rng = generator_random(0)
    x = torch.cat((rng.normal(8000, 1), 0.3 * rng.normal(8000, 1)), dim=1)
    decoder = GaussianDecoder(scale="feature")
    model = small_vae(TensorSpec(n_features=2), n_latent=1, kl_weight=1.0, decoder=decoder)
    train(model, x, config=TrainingConfig(steps=600, batch_size=128), rng=0)
    _, log_variance, _ = model.decoder.parts(torch.randn(5, 1), torch.zeros(5, 0))
    assert (log_variance == log_variance[0]).all()
    y = model.sample(8000, torch.zeros(8000, 0), rng=generator_random(2))
    assert torch.allclose(y.std(0), torch.tensor([1.0, 0.3]), rtol=0.1)


def test_padding_is_neither_learned_nor_made():
    rows = TensorSpec(n_features=6, n_conditions=1, shape=(3, 2), rows=Rows(0, 1.5, 1.5))
    model = small_vae(rows)
    c = torch.tensor([[-1.0], [1.0]])
    x = torch.randn(2, 6) * rows.mask(c)
    z = torch.randn(2, 6)
    other = x + (1 - rows.mask(c))
    assert torch.equal(model.decoder.log_prob(x, z, c), model.decoder.log_prob(other, z, c))
    made = model.sample(500, c.repeat(250, 1), rng=generator_random())
    assert ((made == 0) == (rows.mask(c.repeat(250, 1)) == 0)).all()


def test_stages_have_a_vae_each():
    first = TensorSpec(n_features=1)
    spec = TensorSpec(n_features=3, stages=(first, TensorSpec(n_features=2, n_conditions=1)))
    model = small_vae(spec)
    assert list(model.players()) == ["1: vae", "1: prior", "2: vae", "2: prior"]
    assert model.sample(5, torch.zeros(5, 0), rng=generator_random()).shape == (5, 3)


def test_as_many_latent_variables_as_features():
    assert small_vae().prior.n_latent == 3
    assert small_vae(n_latent=7).prior.n_latent == 7
    assert small_vae(TensorSpec(n_features=100)).prior.n_latent == 64


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="VAE: kl_weight must be 0 or more, got -1"):
        VAE(kl_weight=-1)
    with pytest.raises(ValueError, match="VAE: n_latent must be positive, got 0"):
        VAE(n_latent=0)
    with pytest.raises(ValueError, match="FlowPrior: n_steps must be positive, got 0"):
        FlowPrior(n_steps=0)
    with pytest.raises(ValueError, match="MixtureDecoder: n_components must be positive, got 0"):
        MixtureDecoder(n_components=0)
    with pytest.raises(ValueError, match="ZeroInflated: scale must be 'event' or 'feature'"):
        ZeroInflated(scale="pixel")


# ---------------------------------------------------------------- arrays

ARRAY = TensorSpec(n_features=48, n_conditions=1, shape=(4, 4, 3), periodic=(False, True, False))


def small_network():
    return VoxelTransformer(n_hidden=8, n_blocks=1, n_heads=1)


def awake_mixture(spec, n_components=3):
    """A mixture decoder whose network, a perceptron, says something else for each z."""
    return small_vae(spec, decoder=MixtureDecoder(n_components=n_components)).decoder


def test_likelihood_of_a_mixture():
    decoder = awake_mixture(MIXED)
    x = torch.tensor([[0.3, -1.0, -0.7], [1.2, 1.0, 0.1]])
    z, c = torch.randn(2, 3), torch.randn(2, 1)
    means, log_variances, logits = (p.transpose(1, 2) for p in decoder.parts(z, c))
    law = MixtureSameFamily(Categorical(logits=logits), Normal(means, (log_variances / 2).exp()))
    spin = Bernoulli(logits=means[:, 1, 0]).log_prob((x[:, 1] + 1) / 2)
    expected = law.log_prob(x)[:, [0, 2]].sum(1) + spin
    assert torch.allclose(decoder.log_prob(x, z, c), expected, atol=1e-5)


def test_events_of_a_mixture_have_its_law():
    """Shares below points all along the axis, and the same against another law as a control."""
    decoder, n = awake_mixture(MIXED), 20_000
    z, c = torch.tensor([[0.5, -1.0, 2.0]]).expand(n, 3), torch.zeros(n, 1)
    with torch.no_grad():
        decoder.network[-1].bias.mul_(8)
        y = decoder.sample(z, c, rng=generator_random(4))
        means, log_variances, logits = (p[0] for p in decoder.parts(z[:1], c[:1]))
    assert torch.equal(y[:, 1].abs(), torch.ones(n))
    grid = torch.linspace(-2, 2, 9)[:, None]
    below = torch.softmax(logits[:, 0], 0) * Normal(
        means[:, 0], (log_variances[:, 0] / 2).exp()
    ).cdf(grid)
    expected = below.sum(1)
    error = (expected * (1 - expected) / n).sqrt().clamp_min(1e-3)
    found = (y[:, 0] < grid).float().mean(1)
    assert ((found - expected).abs() / error).max() < 4
    other = (y[:, 2] < grid).float().mean(1)
    assert ((other - expected).abs() / error).max() > 4


@pytest.mark.parametrize(
    "network",
    [Perceptron(n_hidden=8, n_blocks=1), UNet(n_channels=4, n_blocks=1), small_network(), None],
)
def test_any_network_for_arrays_decodes(network):
    model = small_vae(ARRAY, network=network)
    settings = model.settings
    assert settings_from_dict(settings_to_dict(settings)) == settings
    x, c = generator_random().normal(6, 48), torch.zeros(6, 1)
    for player in model.players():
        assert model.loss(x, c, player=player, rng=generator_random()).shape == (6,)
    assert model.sample(6, c, rng=generator_random()).shape == (6, 48)
    assert torch.isfinite(model.elbo(x, c, rng=generator_random())).all()


@pytest.mark.parametrize("decoder", [GaussianDecoder(), MixtureDecoder(), ZeroInflated()])
def test_any_law_is_decoded_by_a_network_for_arrays(decoder):
    model = small_vae(ARRAY, network=small_network(), decoder=decoder)
    settings = model.settings
    assert settings_from_dict(settings_to_dict(settings)) == settings
    x, c = generator_random().normal(6, 48), torch.zeros(6, 1)
    model.loss(x, c, player="vae", rng=generator_random()).mean().backward()
    assert model.decoder.network.network.last.weight.grad.abs().sum() > 0


def test_defaults_follow_what_an_event_is():
    flat, array = small_vae(), small_vae(ARRAY)
    assert type(flat.decoder).__name__ == "Decoder"
    assert type(array.decoder).__name__ == "Mixture"
    assert array.prior.n_latent == 32
    assert (flat.turns_around, array.turns_around) == (False, True)
    assert not small_vae(ARRAY, symmetric=False).turns_around


def test_particles_by_a_set_transformer():
    rows = TensorSpec(n_features=6, n_conditions=1, shape=(3, 2), rows=Rows(0, 1.5, 1.5))
    network = SetTransformer(n_hidden=8, n_blocks=1)
    model = small_vae(rows, network=network, decoder=MixtureDecoder(n_components=2))
    c = torch.tensor([[-1.0], [1.0]])
    x, z = torch.randn(2, 6) * rows.mask(c), torch.randn(2, 6)
    other = x + (1 - rows.mask(c))
    assert torch.equal(model.decoder.log_prob(x, z, c), model.decoder.log_prob(other, z, c))
    c = c.repeat(50, 1)
    y = model.sample(100, c, rng=generator_random())
    assert ((y == 0) == (rows.mask(c) == 0)).all()


def test_latent_variables_tell_what_cells_have_in_common():
    """Cells that are all high or all low; without latent variables each would choose alone."""
    rng = generator_random(5)
    side = torch.where(rng.uniform(4000, 1) < 0.5, -1.0, 1.0)
    x = side + 0.3 * rng.normal(4000, 8)
    agreement = {}
    for kl_weight in (0.3, 1e3):  # the second keeps the latent variables from saying anything
        settings = {"n_latent": 2, "kl_weight": kl_weight, "learning_rate": 1e-2}
        model = small_vae(
            TensorSpec(n_features=8, shape=(2, 2, 2)), network=Perceptron(n_hidden=16), **settings
        )
        train(model, x, config=TrainingConfig(steps=200, batch_size=64), rng=0)
        y = model.sample(2000, torch.zeros(2000, 0), rng=generator_random(6))
        agreement[kl_weight] = float((y.sign().mean(1).abs() > 0.7).float().mean())
    assert agreement[0.3] > 0.9
    assert agreement[1e3] < 0.3


# --- pictures -----------------------------------------------------------------------------------


def gray_decoder():
    spec = TensorSpec(n_features=4, shape=(2, 2), bounds=(-0.5, 1.5))
    return small_vae(spec, decoder=GrayDecoder())


def test_gray_levels_are_probabilities_between_their_ends():
    decoder = gray_decoder().decoder
    z, c = torch.randn(3, decoder.network[0].in_features), torch.zeros(3, 0)
    x = torch.tensor([[-0.5, 1.5, 0.5, 1.0]]).expand(3, 4)
    m = torch.sigmoid(decoder.network(z))
    g = torch.tensor([0.0, 1.0, 0.5, 0.75])
    expected = (g * m.log() + (1 - g) * (1 - m).log()).sum(1)
    torch.testing.assert_close(decoder.log_prob(x, z, c), expected)
    made = decoder.sample(z, c, rng=None)
    torch.testing.assert_close(made, 2 * m - 0.5)


def test_gray_levels_have_no_density():
    model = gray_decoder()
    with pytest.raises(TypeError, match="gray levels as probabilities have no density"):
        model.log_prob_bound(torch.zeros(2, 4), torch.zeros(2, 0), rng=0)
    with pytest.raises(TypeError, match="GrayDecoder is for pictures"):
        small_vae(TensorSpec(n_features=4, shape=(2, 2)), decoder=GrayDecoder())


def test_pictures_are_made_without_noise_and_keep_their_law():
    random = np.random.default_rng(0)
    images = np.zeros((1500, 6, 6), np.uint8)
    left = random.random(1500) < 0.3
    images[left, :, 1], images[~left, :, 4] = 200, 250
    truth = pg.Events.from_dict({"images": images})
    vae = pg.VAE(decoder=GrayDecoder(), kl_weight=1.0, n_latent=2, n_hidden=32)
    made = pg.Surrogate.fit(truth, vae, steps=600, rng=1)(1000, rng=2)["images"].astype(int)
    assert made[:, :, [0, 2, 3, 5]].max() < 20
    share = (made[:, 0, 1] > 100).mean()
    assert abs(share - left.mean()) < 4 * (0.3 * 0.7 * (1 / 1000 + 1 / 1500)) ** 0.5
    clear = np.abs(made[:, 0, 1] - 100) > 50
    assert clear.mean() > 0.9
