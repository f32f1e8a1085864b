"""
Variational autoencoders
========================

The bound on ln p(x) in a model where every term is known; two estimates of its gradient; and the
plane of latent variables of digits.
"""

import math

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.distributions import MultivariateNormal, kl_divergence

import physgen as pg
from physgen.lectures import chapter
from physgen.plotting.style import COLORS, styled

run = chapter()

# %%
# Linear and normal: h ~ N(0, 1) in 2 dimensions, x = W h + noise in 5. Then x is normal, and so
# is h given x.
random = torch.Generator().manual_seed(1)
w, width = torch.randn(5, 2, generator=random).double(), 0.5
x = w @ torch.tensor([1.0, -0.5]).double() + width * torch.randn(5, generator=random)
evidence = MultivariateNormal(torch.zeros(5).double(), w @ w.T + width**2 * torch.eye(5))
precision = torch.eye(2) + w.T @ w / width**2
posterior = MultivariateNormal(
    torch.linalg.solve(precision, w.T @ x / width**2), precision_matrix=precision
)
prior = MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())


def log_joint(h):
    decoded = MultivariateNormal(h @ w.T, width**2 * torch.eye(5).double())
    return prior.log_prob(h) + decoded.log_prob(x)


# %%
# ln p(x) = ELBO + KL(q | p(h|x)) for every q. The ELBO is a mean over q, here of many draws.
log_p, n = float(evidence.log_prob(x)), 4000 if run.quick else 200_000
shares, bounds, gaps = np.linspace(0, 1, 9), [], []
for share in shares:
    mean = posterior.mean * share  # from the prior (0) to the best q without correlations (1)
    variance = torch.diag((1 - share) + share / precision.diagonal())
    q = MultivariateNormal(mean, variance)
    h = mean + torch.randn(n, 2, generator=random).double() @ variance.sqrt()
    terms = log_joint(h) - q.log_prob(h)
    bounds.append(float(terms.mean()))
    gaps.append(float(kl_divergence(q, posterior)))
    error = float(terms.std()) / math.sqrt(n)
    print(
        f"q {share:4.0%} of the way: ELBO {bounds[-1]:8.3f} + KL {gaps[-1]:7.3f} = "
        f"{bounds[-1] + gaps[-1]:7.3f} +- {error:.3f}, ln p = {log_p:.3f}"
    )

# %%
# The gradient of the ELBO with respect to the mean of q, from single draws. Reparametrized, the
# draw h = mean + noise moves with the mean; otherwise the slope of ln q is weighted with the terms
# of the ELBO. Here each x_i = h_i + noise of width 1/2, all x_i are 1 and q is N(1/2, 1).
scatter, sizes = {"reparametrized": [], "score function": []}, (1, 2, 4, 8, 16, 32)
for size in sizes:
    h = 0.5 + torch.randn(n // 4, size, generator=random)
    terms = (-h.square() / 2 - 2 * (1 - h).square() + (h - 0.5).square() / 2).sum(1, keepdim=True)
    scatter["reparametrized"].append(float((4 * (1 - h) - h).var(0).mean()))
    scatter["score function"].append(float((terms * (h - 0.5)).var(0).mean()))
    ratio = scatter["score function"][-1] / scatter["reparametrized"][-1]
    print(f"{size:2d} latent variables: the score function varies {ratio:.1f} times as much")

fig = Figure(figsize=(7.4, 3), layout="constrained")
left, right = fig.subplots(1, 2)
left.plot(shares, bounds, "o-", ms=4, color=COLORS[0], label="ELBO")
left.fill_between(shares, bounds, np.add(bounds, gaps), color="#DFE9F1", label="KL(q | p(h|x))")
left.axhline(log_p, color="black", linestyle="--", linewidth=0.8, label="ln p(x)")
left.set(xlabel="q, from the prior to the best", ylabel="nats")
for color, (name, values) in zip(COLORS, scatter.items(), strict=False):
    right.loglog(sizes, values, "o-", ms=4, color=color, label=name)
right.set(xlabel="latent variables", ylabel="variance of the gradient")
for ax in (left, right):
    styled(ax).legend(frameon=False, fontsize=8)
run.save(fig, "vae")

# %%
# Digits in black and white with two latent variables: where each digit is put, and what a place
# of the plane stands for.
train = run.digits()
digits = np.where(train["images"] > 127, 1, -1).astype(np.int8)
vae = pg.Surrogate.fit(
    pg.Events.from_dict({"digit": digits}),
    pg.VAE(n_latent=2, kl_weight=1.0),
    training=pg.TrainingConfig(steps=20 if run.quick else 1500, batch_size=64),
    rng=3,
)
with torch.no_grad():
    shown = torch.from_numpy(digits[:2000]).flatten(1).float()
    places = vae.model.encoder(shown)[:, :2].numpy().T
    u = torch.erfinv(2 * (torch.arange(15) + 0.5) / 15 - 1) * math.sqrt(2)
    grid = torch.stack(torch.meshgrid(u, u.flip(0), indexing="xy"), -1).view(-1, 2)
    logits = vae.model.decoder.parts(grid, torch.zeros(225, 0))[0]
fig = Figure(figsize=(7.4, 3.6), layout="constrained")
left, right = fig.subplots(1, 2)
points = left.scatter(*places, c=train["labels"][:2000], s=3, cmap="tab10", vmin=-0.5, vmax=9.5)
fig.colorbar(points, ax=left, ticks=range(10), location="left")
left.set(xlabel="first latent variable", ylabel="second latent variable", xlim=(-3.5, 3.5))
tiles = torch.sigmoid(logits).view(15, 15, 28, 28).swapaxes(1, 2).reshape(420, 420)
right.imshow(tiles.numpy(), cmap="gray_r")
right.set_axis_off()
styled(left)
run.save(fig, "vae_plane")
