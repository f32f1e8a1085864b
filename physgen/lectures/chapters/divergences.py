"""
KL and JS: what they punish
===========================

Two divergences between laws, in nats: what they cost, which fit they prefer, and what slope they
give to a generator whose events lie far from the data.
"""

import math

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import minimize
from scipy.special import rel_entr

from physgen.lectures import chapter
from physgen.metrics import equivalent_shift, js_divergence
from physgen.plotting.style import COLORS, styled

run = chapter()

# %%
# All integrals are sums on a fine grid; rel_entr(p, q) is p ln(p/q).
x = np.linspace(-20, 20, 4001 if run.quick else 40_001)
dx = x[1] - x[0]


def normal(mean, width):
    return np.exp(-((x - mean) ** 2) / (2 * width**2)) / (width * math.sqrt(2 * math.pi))


def kl(p, q):
    return rel_entr(p, q).sum() * dx


def js(p, q):
    return (kl(p, (p + q) / 2) + kl(q, (p + q) / 2)) / 2


# %%
# Neither direction of KL is the other. JS is the same both ways, and never above ln 2.
p, q = normal(0, 1), normal(1, 2)
exact = math.log(2) + (1 + 1) / (2 * 2**2) - 0.5
print(f"KL(p|q) = {kl(p, q):.6f} (exact {exact:.6f}), KL(q|p) = {kl(q, p):.6f}")
print(f"JS(p|q) = {js(p, q):.6f} = JS(q|p) = {js(q, p):.6f} <= ln 2 = {math.log(2):.6f}")

# %%
# From events only: physgen's estimate is in bits, has an error, and is 0 for equal laws.
random = np.random.default_rng(1)
found = js_divergence(random.normal(0, 1, 20_000), random.normal(1, 2, 20_000), rng=2)
print(f"from events: {found.value * math.log(2):.4f} +- {found.std_error * math.log(2):.4f} nats,")
print(f"as far apart as normal laws shifted by {equivalent_shift(found.value):.2f} widths")

# %%
# One normal law for two bumps. KL(p|q) is infinite where q misses events of p: the fit covers
# both. KL(q|p) is infinite where q makes what p never has: the fit takes one bump.
two = 0.5 * normal(-3, 0.8) + 0.5 * normal(3, 0.8)
losses = {"KL(p|q)": lambda q: kl(two, q), "KL(q|p)": lambda q: kl(q, two)}
losses["JS"] = lambda q: js(two, q)
fig = Figure(figsize=(8.4, 2.8), layout="constrained")
fits, costs, slopes = fig.subplots(1, 3)
fits.fill_between(x, two, color="#dddddd", label="p")
for color, (name, loss) in zip(COLORS, losses.items(), strict=False):
    cost = lambda a, loss=loss: loss(normal(a[0], math.exp(a[1])))
    found = [minimize(cost, start, method="Nelder-Mead") for start in ((0.5, 1.0), (2.5, 0.0))]
    best = min(found, key=lambda result: result.fun)
    mean, width = best.x[0], math.exp(best.x[1])
    print(f"least {name}: mean {mean:.2f}, width {width:.2f}, {best.fun:.3f} nats left")
    line = "--" if name == "JS" else "-"
    fits.plot(x, normal(mean, width), line, color=color, label=f"least {name}")
fits.set(xlim=(-8, 8), xlabel="x", ylabel="density")

# %%
# Far apart: KL of two normal laws of width 1 is d^2/2, and its slope grows with their distance d.
# JS goes to ln 2: its slope dies, and a generator would not know where to go. Uniform laws have no
# overlap at all beyond d = 1: there KL is infinite, and the slope of JS is exactly 0.
d = np.linspace(0, 8, 33 if run.quick else 161)
curves = {
    "KL, normal": np.array([kl(normal(0, 1), normal(a, 1)) for a in d]),
    "JS, normal": np.array([js(normal(0, 1), normal(a, 1)) for a in d]),
    "JS, uniform": np.minimum(d, 1) * math.log(2),
}
for color, (name, curve) in zip(COLORS, curves.items(), strict=False):
    costs.plot(d, curve, color=color, label=name)
    slopes.semilogy(d, np.maximum(np.gradient(curve, d), 1e-9), color=color)
    print(f"{name}: slope {np.gradient(curve, d)[-1]:.1e} at d = {d[-1]:.0f}")
costs.axhline(math.log(2), color="black", linestyle="--", linewidth=0.8)
costs.set(ylim=(0, 2), xlabel="distance d", ylabel="divergence [nats]")
slopes.set(ylim=(1e-5, 20), xlabel="distance d", ylabel="slope [nats per unit of d]")
for ax in (fits, costs, slopes):
    styled(ax)
for ax in (fits, costs):
    ax.legend(frameon=False, fontsize=7.5)
run.save(fig, "divergences")
