"""
A Boltzmann machine that learns the critical Ising model
========================================================

A restricted Boltzmann machine learns from lattices alone, at the critical point where learning is
hardest, and is judged by what is known exactly.

On 4 x 4 spins all 65,536 states can be summed, so the distance from the truth,

.. math:: \\mathrm{KL}(p \\,\\|\\, \\mathrm{RBM}) = \\sum_s p \\ln (p / p_\\mathrm{RBM}),

is a number without an error at every moment of the training. On 16 x 16 the machine knows two
symmetries: the law is the same with all spins turned over, and at every place. Its couplings are
then a few filters. Energy and specific heat are compared with Kaufman's solution, the law of the
energy with Beale's density of states. One core needs a minute and a half.

.. image:: /images/ising_rbm.png
   :alt: Exact Kullback-Leibler divergence along the training, generated lattices, learned filters,
         distribution of the energy against the exact one, and correlations

.. code-block:: sh

    python examples/ising_rbm.py --output docs/images/ising_rbm.png [--quick]
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure

import physgen as pg
from physgen.observables import ising_energy
from physgen.plotting import receptive_fields
from physgen.simulators import Ising2D
from physgen.simulators.ising_exact import (
    CRITICAL_BETA,
    boltzmann,
    energy_distribution,
    enumerate_states,
    spins_of_state,
    torus,
)
from physgen.thermodynamics import (
    correlation_function,
    mean_energy,
    plot_lattice,
    specific_heat,
)

BLUE, ORANGE = "#0072B2", "#E69F00"
STYLE = {"font.size": 8.5, "axes.linewidth": 0.6, "xtick.direction": "in", "ytick.direction": "in"}


def learn(n_side, n_events, settings, *, steps, batch_size):
    """A machine that has seen critical lattices of one size, and these lattices."""
    lattices = Ising2D(n_side)(n_events, {"beta": CRITICAL_BETA}, rng=1)
    training = pg.TrainingConfig(steps=steps, batch_size=batch_size)
    surrogate = pg.Surrogate.fit(lattices, settings, fields=["spins"], training=training, rng=1)
    return surrogate, lattices["spins"]


def divergence_along_training(surrogate):
    """Exact KL(p || RBM) in nats, after each number of updates for which a machine was kept."""
    model = surrogate.model
    states = torch.from_numpy(spins_of_state(np.arange(2**16), (4, 4))).flatten(1).float()
    p = torch.from_numpy(boltzmann(enumerate_states((4, 4)), CRITICAL_BETA).probabilities)
    path = model.trajectory(torch.zeros(1, 0))
    found = []
    for t in range(1, len(path.points)):  # the first point is the machine of free units
        free_energy = path.at(t).free_energy(states).double()
        log_q = -free_energy - torch.logsumexp(-free_energy, 0)
        found.append(float((p * (p.log() - log_q)).sum()))
    return [*model.snapshots.updates(), "averaged"], found


@mpl.rc_context(STYLE)
def figure_of(updates, divergence, surrogate, truth, made):
    figure = Figure(figsize=(8.4, 5.6), dpi=120, layout="constrained")
    axes = figure.subplots(2, 3)
    ax = axes[0, 0]
    ax.loglog(np.maximum(updates[:-1], 1), divergence[:-1], "o-", ms=3, lw=1.2, color=BLUE)
    ax.axhline(
        divergence[-1], color=ORANGE, lw=1.2, label=f"averaged weights: {divergence[-1]:.4f}"
    )
    ax.set(xlabel="update", ylabel="KL(p || RBM)  [nat]", title="4 × 4, all 65,536 states")
    ax.legend(frameon=False)
    for ax, spins, title in zip(
        axes[0, 1:], (truth, made), ("simulated", "generated"), strict=True
    ):
        draw_lattices(ax, spins, f"{title}, 16 × 16")
    draw_filters(axes[1, 0], surrogate)
    draw_energies(axes[1, 1], made)
    draw_correlations(axes[1, 2], truth, made)
    return figure


def draw_lattices(ax, spins, title):
    """Nine lattices, with lines between them."""
    n = spins.shape[1]
    plot_lattice(ax, spins[:9].reshape(3, 3, n, n).swapaxes(1, 2).reshape(3 * n, 3 * n))
    for edge in (n - 0.5, 2 * n - 0.5):
        ax.axhline(edge, color=ORANGE, lw=1.5)
        ax.axvline(edge, color=ORANGE, lw=1.5)
    ax.set_title(title)


def draw_filters(ax, surrogate):
    """Couplings of the two hidden units at one site to the spins around it."""
    matrix = surrogate.model.coupling_matrix()
    center = 16 * 8 + 8
    near = matrix[:, center::256].unflatten(0, (16, 16))[5:12, 5:12]
    receptive_fields(ax, near.flatten(0, 1), (7, 7))
    ax.set_title("couplings around a site")


def draw_correlations(ax, truth, made):
    simulated = correlation_function(truth, independent=True)
    generated = correlation_function(made, independent=True)
    error = np.hypot(simulated.std_error, generated.std_error)
    ax.axhline(0, color="black", lw=0.8)
    ax.errorbar(
        simulated.x[1:], 1e3 * (generated.value - simulated.value)[1:], 1e3 * error[1:],
        fmt="o", ms=3, color=ORANGE,
    )  # fmt: skip
    ax.set(xlabel="distance r  [sites]", ylabel=r"C(r): generated $-$ simulated  [$10^{-3}$]")


def draw_energies(ax, made):
    levels, law = energy_distribution(16, CRITICAL_BETA)
    bins = np.arange(-514, 2, 12)
    exact = np.histogram(levels, bins, weights=law)[0] / 12 * 256
    ax.stairs(exact, bins / 256, color="black", lw=1.0, label="exact")
    counts = np.histogram(ising_energy(made), bins)[0]
    middle, scale = (bins[1:] + bins[:-1]) / 512, 256 / 12 / len(made)
    ax.errorbar(
        middle, counts * scale, np.sqrt(counts) * scale, fmt="o", ms=2.5, color=ORANGE,
        label="generated",
    )  # fmt: skip
    ax.set(xlabel="energy per site  [J]", ylabel="density", xlim=(-2.02, -0.7))
    ax.legend(frameon=False)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo/ising_rbm.png"))
    parser.add_argument(
        "--quick", action="store_true", help="a smoke test: short trainings, few lattices"
    )
    args = parser.parse_args(argv)
    scale = 20 if args.quick else 1

    small = pg.RBM(n_hidden=16, flip_symmetric=True, learning_rate=0.03)
    surrogate, _ = learn(4, 50_000 // scale, small, steps=2000 // scale, batch_size=500)
    updates, divergence = divergence_along_training(surrogate)
    for update, kl in zip(updates, divergence, strict=True):
        print(f"4 x 4, update {update!s:>8}: KL(p || RBM) = {kl:.4f} nat")
    print(f"ln Z = {surrogate.log_z()}")

    large = pg.RBM(
        n_hidden=512,
        learning_rate=0.02,
        flip_symmetric=True,
        translation_symmetric=True,
        filter_size=3,
    )
    surrogate, truth = learn(16, 50_000 // scale, large, steps=1200 // scale, batch_size=256)
    made = surrogate(4000 // scale, rng=2, n_steps=300 // scale)["spins"]
    energy = ising_energy(made).astype(float)
    exact = torus(16, CRITICAL_BETA)
    e = mean_energy(energy, 256, independent=True)
    c = specific_heat(energy, CRITICAL_BETA, 256, independent=True)
    for name, found, right in (
        ("energy per site", e, exact.energy_per_site),
        ("specific heat per site", c, exact.specific_heat_per_site),
    ):
        print(f"16 x 16, {name}: {found}, exact {right:.5f}, {found.pull(right):+.1f} sigma")
    print(*surrogate.history.messages, sep="\n")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    figure_of(updates, divergence, surrogate, truth, made).savefig(args.output)
    print(f"figure: {args.output}")
    return {"divergence": divergence[-1], "energy": e, "specific_heat": c}


if __name__ == "__main__":
    main()
