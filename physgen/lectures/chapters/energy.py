"""
Energy models and contrastive optimization
==========================================

A law p = exp(-E)/Z learns by the difference of two averages: over the data, and over what it
believes itself. On six spins both are sums; for digits the second comes from Markov chains.
"""

import itertools

import numpy as np
import torch
from matplotlib.figure import Figure

import physgen as pg
from physgen import mcmc
from physgen.lectures import chapter
from physgen.models import DenoisingScoreMatching
from physgen.plotting.style import COLORS, styled
from physgen.random import PhiloxRandom

run = chapter()

# %%
# Six spins, every pair coupled: E(s) = -theta . phi(s), with phi the 15 products and the 6 spins.
# There are 64 states, so that everything is a sum.
states = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=6))).double()
i, j = torch.triu_indices(6, 6, 1)


def phi(s):
    return torch.cat((s[:, i] * s[:, j], s), 1).double()


def log_p(s, theta):
    return phi(s) @ theta - torch.logsumexp(phi(states) @ theta, 0)


random = torch.Generator().manual_seed(1)
truth, theta = 0.4 * torch.randn(2, 21, generator=random).double()
chosen = torch.multinomial(log_p(states, truth).exp(), 2000, replacement=True, generator=random)
data = states[chosen]

# %%
# The gradient of the mean ln p of the data is the positive minus the negative phase. Finite
# differences check it.
positive = phi(data).mean(0)
exact = positive - log_p(states, theta).exp() @ phi(states)
steps = 1e-4 * torch.eye(21).double()
differences = [(log_p(data, theta + h) - log_p(data, theta - h)).mean() / 2e-4 for h in steps]
largest = (exact - torch.stack(differences)).abs().max()
print(f"two phases against finite differences: {largest:.1e} at most")

# %%
# Contrastive: the negative phase from Gibbs chains, as one has to where states cannot be counted.
n_chains = 2000 if run.quick else 20_000
start = 2.0 * torch.randint(0, 2, (n_chains, 6), generator=random) - 1
rng = PhiloxRandom(2, torch.arange(n_chains))
gibbs, energy = mcmc.Gibbs(sweep=True), lambda s: -phi(s) @ theta
chains, _ = mcmc.run(gibbs, energy, start.double(), 30, rng=rng)
estimate, error = positive - phi(chains).mean(0), phi(chains).std(0) / n_chains**0.5
pulls = (estimate - exact) / error
print(f"Gibbs chains against the sum: chi2 = {pulls.square().sum():.1f} for 21 parameters")

fig = Figure(figsize=(7.4, 3.1), layout="constrained")
left, right = fig.subplots(1, 2)
left.axline((0, 0), slope=1, color="black", linewidth=0.6)
left.errorbar(exact, estimate, 3 * error, fmt="o", ms=3, color=COLORS[1], label="Gibbs, 3 errors")
left.plot(exact, differences, "+", ms=9, color=COLORS[0], label="finite differences")
left.set(xlabel="positive minus negative phase, summed", ylabel="the same, estimated")
left.legend(frameon=False, fontsize=8)

# %%
# Chains that start from the data and move only k times (contrastive divergence) are cheap and
# biased; the bias is gone once they have forgotten the data.
sweeps, distance = (0, 1, 2, 3, 5, 8, 13), []
for k in sweeps:
    some = data[torch.arange(n_chains) % len(data)]
    s, _ = mcmc.run(gibbs, energy, some, k, rng=rng)
    distance.append(float((positive - phi(s).mean(0) - exact).norm() / exact.norm()))
    print(f"CD-{k}: {distance[-1]:.3f} of the gradient is wrong")
right.semilogy(sweeps, distance, "o-", ms=4, color=COLORS[2])
right.axhline(float(error.norm() / exact.norm()), color="black", linestyle="--", linewidth=0.8)
right.set(xlabel="Gibbs sweeps k from the data", ylabel="wrong share of the gradient")
styled(left), styled(right)
run.save(fig, "energy")

# %%
# Digits in black and white on 14 x 14 pixels, so that a minute suffices. A Boltzmann machine has
# hidden units in place of pairs, and chains that go on from update to update.
gray = run.digits()["images"].reshape(-1, 14, 2, 14, 2).mean((2, 4))
digits = np.where(gray > 100, 1, -1).astype(np.int8)
rbm = pg.Surrogate.fit(
    pg.Events.from_dict({"digit": digits}),
    pg.RBM(n_hidden=8 if run.quick else 200),
    training=pg.TrainingConfig(steps=20 if run.quick else 400, batch_size=128),
    rng=3,
)
looks, rng = (0, 1, 3, 10, 30, 100), PhiloxRandom(4, torch.arange(6))
rows = [2.0 * torch.randint(0, 2, (6, 196), generator=random) - 1]
for before, now in itertools.pairwise(looks):
    rows.append(rbm.model.gibbs(rows[-1], torch.zeros(6, 0), now - before, rng=rng).detach())

# %%
# The energy may be any network. This one learns the slope of ln p of digits with noise on them,
# which needs no chains until it is asked for digits.
blurred = digits + 0.3 * np.random.default_rng(5).normal(size=digits.shape)
ebm = pg.Surrogate.fit(
    pg.Events.from_dict({"digit": blurred}),
    pg.EBM(objective=DenoisingScoreMatching(sigma=0.3)),
    training=pg.TrainingConfig(steps=20 if run.quick else 1500, batch_size=64),
    rng=5,
)
rows.append(ebm(6, rng=6, n_steps=8 if run.quick else 200)["digit"])

fig = Figure(figsize=(7.4, 1.5), layout="constrained")
for ax, label, row in zip(fig.subplots(1, 7), (*looks, "another energy"), rows, strict=True):
    shown = np.asarray(row).reshape(2, 3, 14, 14).swapaxes(1, 2).reshape(28, 42)
    ax.imshow(shown, cmap="gray_r", vmin=-1, vmax=1)
    ax.set_title(label if isinstance(label, str) else f"{label} steps", fontsize=8)
    ax.set_axis_off()
run.save(fig, "energy_chains")
