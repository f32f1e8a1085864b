"""
The best discriminator
======================

Real and made numbers follow two normal laws that are known, so that the best discriminator and its
gain are known as well: D* = p_r/(p_r + p_g) and L(G, D*) = 2 JS - 2 ln 2. A small network learns
them from events alone.
"""

import math

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.nn.functional import logsigmoid

from physgen.lectures import chapter
from physgen.plotting.style import COLORS, styled
from physgen.random import seeded_layers

run = chapter()
x = torch.linspace(-12, 12, 4801).double()


def normal(mean, width):
    return torch.exp(-((x - mean) ** 2) / (2 * width**2)) / (width * math.sqrt(2 * math.pi))


def integral(f):
    return float(torch.trapezoid(f, x))


def gain(logit, p_r, p_g):
    """L(G, D) = E_r ln D + E_g ln(1 - D) of a discriminator, as an integral."""
    return integral(p_r * logsigmoid(logit) + p_g * logsigmoid(-logit))


def js(p_r, p_g):
    mean = (p_r + p_g) / 2
    return integral(torch.xlogy(p_r, p_r / mean) + torch.xlogy(p_g, p_g / mean)) / 2


# %%
# The discriminator ends with a logit, of which D is the sigmoid; its loss is -L, from fresh events
# at every step, as in the lecture.
def learn(mean, width, n_steps, looks=(), seed=1):
    """Logits on the grid after some steps, real events N(0, 1) and made ones N(mean, width)."""
    with seeded_layers(seed):
        net = torch.nn.Sequential(
            torch.nn.Linear(1, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64), torch.nn.SiLU(),
            torch.nn.Linear(64, 1),
        )  # fmt: skip
    random, found = torch.Generator().manual_seed(seed), {}
    adam = torch.optim.Adam(net.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, n_steps)
    for step in range(n_steps + 1):
        if step in looks or step == n_steps:
            found[step] = net(x[:, None].float()).detach()[:, 0].double()
        real, made = torch.randn(2, 1000, 1, generator=random)
        loss = -logsigmoid(net(real)).mean() - logsigmoid(-net(mean + width * made)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step(), schedule.step()
    return found


n_steps = 100 if run.quick else 600
looks = sorted({int(step) for step in np.geomspace(1, n_steps, 25)})
p_r, p_g = normal(0, 1), normal(1.5, 0.7)
found, best = learn(1.5, 0.7, n_steps, looks), 2 * js(p_r, p_g) - 2 * math.log(2)
gains = [gain(logit, p_r, p_g) for logit in found.values()]
print(f"gain {gains[-1]:.4f}, never above 2 JS - 2 ln 2 = {best:.4f}")
print(
    f"JS from the discriminator {gains[-1] / 2 + math.log(2):.4f} nats, known {js(p_r, p_g):.4f}"
)
distance = (torch.sigmoid(found[n_steps]) - p_r / (p_r + p_g)).abs()
print(f"|D - D*| = {integral(distance * (p_r + p_g) / 2):.4f}, mean over both laws")

# %%
# The closer the laws, the lower the gain, down to -2 ln 2, where D = 1/2 everywhere.
shifts, last = np.linspace(0, 4, 5 if run.quick else 9), []
for shift in shifts:
    logit, law = learn(float(shift), 1.0, n_steps)[n_steps], normal(float(shift), 1)
    last.append(gain(logit, p_r, law))
    half = integral(torch.sigmoid(logit) * law)
    print(f"shift {shift:.1f}: gain {last[-1]:.4f}, mean of D over the made events {half:.3f}")

fig = Figure(figsize=(8.4, 2.8), layout="constrained")
laws, learning, equal = fig.subplots(1, 3)
for law, color, label in ((p_r, "#B3C9DA", "real"), (p_g, "#F2C9B1", "made")):
    laws.fill_between(x, law, color=color, alpha=0.8, label=label)
laws.plot(x, p_r / (p_r + p_g), color="black", label="D*")
laws.plot(x, torch.sigmoid(found[n_steps]), "--", color=COLORS[2], label="D learned")
laws.set(xlim=(-4, 5), xlabel="x", ylabel="density, probability")
learning.semilogx(list(found), gains, "o-", ms=3, color=COLORS[0], label="L(G, D)")
learning.axhline(best, color="black", linestyle="--", linewidth=0.8, label="2 JS - 2 ln 2")
learning.set(xlabel="step of the discriminator", ylabel="gain [nats]")
fine = np.linspace(0, 4, 81)
curve = [2 * js(p_r, normal(float(a), 1)) - 2 * math.log(2) for a in fine]
equal.plot(fine, curve, color="black", label="2 JS - 2 ln 2")
equal.plot(shifts, last, "o", ms=4, color=COLORS[0], label="learned")
equal.axhline(-2 * math.log(2), color="#888888", linestyle="--", linewidth=0.8, label="-2 ln 2")
equal.set(xlabel="shift of the made law", ylabel="gain [nats]")
for ax in (laws, learning, equal):
    styled(ax).legend(frameon=False, fontsize=7.5)
run.save(fig, "equilibrium")
