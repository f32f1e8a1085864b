"""
Diffusion models
================

Noise forward to a normal law and back; ln p along the way; a model times a likelihood; and digits
of which half is known.
"""

import numpy as np
import torch
from matplotlib.figure import Figure

import physgen as pg
from physgen.lectures import chapter
from physgen.models import Perceptron
from physgen.models.diffusion.likelihood import log_density
from physgen.plotting.style import COLORS, styled
from physgen.random import PhiloxRandom

run = chapter()

# %%
# Two bumps: with noise they stay two bumps, so that the best guess of the clean event is known.
share, mean, width = (torch.tensor(v) for v in ((0.3, 0.7), (-2.0, 1.5), (0.4, 0.6)))


def log_terms(y, scale, sigma):
    """Of each bump after x -> scale x + sigma noise: ln of share times density."""
    spread = (scale * width).square() + sigma**2
    square = (y[:, None] - scale * mean).square()
    return share.log() - square / (2 * spread) - (2 * torch.pi * spread).log() / 2


def denoised(y, scale, sigma):
    """Mean of the clean event given the noisy one."""
    gain = scale * width.square() / ((scale * width).square() + sigma**2)
    guess = mean + gain * (y[:, None] - scale * mean)
    return (log_terms(y, scale, sigma).softmax(1) * guess).sum(1)


# %%
# Forward: x_t = sqrt(1 - beta_t) x_(t-1) + sqrt(beta_t) noise. Given x_0 as well as x_t, the step
# before is normal, with a mean and width in closed form.
n_steps, n, random = 100 if run.quick else 300, 20_000, torch.Generator().manual_seed(1)
beta = torch.linspace(1e-3, 12 / n_steps, n_steps)
left = torch.cat((torch.ones(1), (1 - beta).cumprod(0)))  # of the variance, after t steps


def before(x_t, x_0, t):
    """Mean and width of x_(t-1) given x_t and x_0."""
    a = left[t - 1].sqrt() * beta[t - 1] / (1 - left[t])
    b = (1 - beta[t - 1]).sqrt() * (1 - left[t - 1]) / (1 - left[t])
    return a * x_0 + b * x_t, (beta[t - 1] * (1 - left[t - 1]) / (1 - left[t])).sqrt()


t, chain = n_steps // 3, [torch.full((n,), 1.5)]
for b in beta[:t]:
    chain.append((1 - b).sqrt() * chain[-1] + b.sqrt() * torch.randn(n, generator=random))
middle, spread = before(chain[-1], chain[0], t)
pull = (chain[-2] - middle) / spread
print(f"x_(t-1) given x_t and x_0: pulls {pull.mean():+.3f} (0), width {pull.std():.3f} (1)")

# %%
# Backward: the clean event is not known, but guessed. Pure noise becomes two bumps.
x = torch.randn(n, generator=random)
for t in range(n_steps, 0, -1):
    middle, spread = before(x, denoised(x, left[t].sqrt(), (1 - left[t]).sqrt()), t)
    x = middle + spread * torch.randn(n, generator=random)
truth = (share * torch.special.ndtr(-mean / width)).sum()
print(f"left of 0 after the way back: {(x < 0).float().mean():.3f} (truth {truth:.3f})")

# %%
# The same way without noise is an equation, along which ln p can be counted.
at = torch.linspace(-4, 4, 161)
flow = lambda y, sigma: denoised(y[:, 0], 1.0, sigma)[:, None]
how = {"n_steps": 300, "n_probes": 0, "rng": PhiloxRandom(1, torch.arange(161))}
log_p, _ = log_density(flow, at[:, None], 0.002, 40.0, **how)
exact = log_terms(at, 1.0, 0.0).logsumexp(1)
print(f"ln p by the flow: wrong by {(log_p - exact).abs().max():.3f} nats at most")

# %%
# A learned law times a likelihood: (x, y) normal with correlation 0.8, and x + y measured to be
# 2 +- 0.5. What is left is normal and known.
pairs = np.random.default_rng(2).multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 20_000)
events = pg.Events.from_dict({"x": pairs[:, 0], "y": pairs[:, 1]})
s = pg.Surrogate.fit(events, pg.Diffusion(n_hidden=64), steps=30 if run.quick else 800, rng=3)
seen = lambda event: -((event["x"] + event["y"] - 2) ** 2) / (2 * 0.5**2)
found = pg.posterior(s, 64 if run.quick else 512, seen, rng=4, n_steps=64, n_particles=16)
total, gain = found["x"] + found["y"], 3.6 / (3.6 + 0.5**2)
print(f"x + y: {total.mean():.2f} ± {total.std():.2f}, known {2 * gain:.2f} ± {gain**0.5 / 2:.2f}")

fig = Figure(figsize=(8.4, 2.8), layout="constrained")
ways, density, product = fig.subplots(1, 3)
for color, t in zip(COLORS, (0, n_steps // 6, n_steps // 2, n_steps), strict=False):
    law = log_terms(at, left[t].sqrt(), (1 - left[t]).sqrt()).logsumexp(1).exp()
    ways.plot(at, law, color=color, label=f"{t} steps")
ways.hist(x, at[::2], density=True, color="#cccccc", label="and back")
density.plot(at, exact, color="black", label="exact")
density.plot(at[::5], log_p[::5], "o", ms=3, color=COLORS[1], label="by the flow")
product.plot(*pairs[:1500].T, ".", ms=2, color="#bbbbbb", label="prior")
product.plot(found["x"], found["y"], ".", ms=3, color=COLORS[1], label="with x + y = 2 ± 0.5")
for ax, ylabel in ((ways, "density"), (density, "ln p"), (product, "y")):
    ax.set(xlabel="x", ylabel=ylabel)
    styled(ax).legend(frameon=False, fontsize=7)
run.save(fig, "diffusion")


# %%
# Noise for black and white pixels is a mask. The upper half of a digit is given, and the model
# draws the lower one, three times.
def small(events):
    gray = events["images"].reshape(-1, 14, 2, 14, 2).mean((2, 4))
    return pg.Events.from_dict({"digit": np.where(gray > 100, 1, -1).astype(np.int8)})


model = pg.MaskedDiffusion(network=Perceptron(n_hidden=256))
training = pg.TrainingConfig(steps=20 if run.quick else 1000, batch_size=64)
masked = pg.Surrogate.fit(small(run.digits()), model, training=training, rng=5)
test, upper = small(run.digits("test"))[:14], np.arange(14)[:, None] < np.full(14, 7)
rows = [test["digit"], np.where(upper, test["digit"], 0)]
rows += [masked.complete(test, {"digit": upper}, rng=seed)["digit"] for seed in (6, 7, 8)]
fig = Figure(figsize=(7, 2.6), layout="constrained")
(ax := fig.subplots()).imshow(
    np.stack(rows).swapaxes(1, 2).reshape(70, 196), cmap="gray_r", vmin=-1, vmax=1
)
ax.set(xticks=[], yticks=range(7, 70, 14), yticklabels=("truth", "given", "1", "2", "3"))
run.save(fig, "diffusion_digits")
