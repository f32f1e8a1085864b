"""
The phase transition of the Ising model
=======================================

Independent configurations at many temperatures, against the exact solution.

Lattices of four sizes pass through the transition at :math:`T_c = 2/\\ln(1+\\sqrt2)` in
:math:`J/k_B`. Energy and specific heat are compared with Kaufman's solution of each torus: the
pulls, deviations in standard errors, must scatter like standard normal numbers. The magnetization
of a torus has no closed form; its bulk limit is Yang's. The Binder cumulants of all sizes cross at
:math:`T_c`. One core needs half a minute.

.. image:: /images/ising.png
   :alt: Energy, specific heat, magnetization and Binder cumulant of four lattices, their pulls
         against the exact solution, and lattices below, at and above the transition

.. code-block:: sh

    python examples/ising_phase_transition.py --output docs/images/ising.png [--quick]
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from physgen.simulators import Ising2D
from physgen.simulators.ising_exact import CRITICAL_TEMPERATURE, bulk, torus
from physgen.thermodynamics import plot_curve, plot_lattice, plot_pulls, thermodynamics

EVENTS = {8: 4000, 16: 4000, 32: 2000, 64: 500}  # side: events per temperature
QUICK = {4: 200, 8: 200}
# Okabe and Ito: told apart with any color vision
COLORS = ("#E69F00", "#009E73", "#0072B2", "#CC79A7")
MARKERS = ("o", "s", "^", "D")
STYLE = {
    "font.size": 8.5,
    "axes.linewidth": 0.6,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
}
TEMPERATURES = np.unique(np.round(np.r_[np.linspace(1.6, 3.2, 17), np.linspace(2.1, 2.45, 15)], 6))


def simulate(n_side, n_per_temperature):
    """Energies and magnetizations, thousands of lattices at each temperature in one call."""
    ising = Ising2D(n_side, observables=("energy", "magnetization"))
    beta = np.repeat(1 / TEMPERATURES, n_per_temperature)
    events = ising(len(beta), {"beta": beta}, rng=0)
    return thermodynamics(events, independent=True)


def pulls(n_side, table):
    """Energy and specific heat against the exact solution of this torus."""
    exact = torus(n_side, table.beta)
    return (
        table.energy_per_site.pulls(exact.energy_per_site),
        table.specific_heat.pulls(exact.specific_heat_per_site),
    )


@mpl.rc_context(STYLE)
def figure_of(tables, snapshots):
    figure = Figure(figsize=(8, 8.6), dpi=120)
    top, bottom = figure.subfigures(2, 1, height_ratios=(6.5, 2))
    axes = top.subplots(3, 2, sharex=True, height_ratios=(2.3, 2.3, 1))
    draw_curves(axes[:2], tables)
    draw_pulls(axes[2], tables)
    top.subplots_adjust(left=0.085, right=0.985, top=0.985, bottom=0.07, hspace=0.1, wspace=0.2)
    strip = bottom.subplots(1, len(snapshots))
    for ax, (label, spins) in zip(strip, snapshots, strict=True):
        plot_lattice(ax, spins, title=label)
    bottom.subplots_adjust(left=0.02, right=0.985, top=0.93, bottom=0.01, wspace=0.06)
    return figure


def draw_curves(axes, tables):
    t = np.linspace(TEMPERATURES[0], TEMPERATURES[-1], 1000)
    infinite = bulk(1 / t)
    (energy, heat), (m, u4) = axes
    near = u4.inset_axes((0.12, 0.1, 0.29, 0.62))
    for (n_side, table), color, marker in zip(tables.items(), COLORS, MARKERS, strict=False):
        exact = torus(n_side, 1 / t)
        energy.plot(t, exact.energy_per_site, lw=0.9, color=color)
        heat.plot(t, exact.specific_heat_per_site, lw=0.9, color=color)
        style = {"x": table.temperature, "color": color, "marker": marker}
        plot_curve(energy, table.energy_per_site, label=f"{n_side} × {n_side}", **style)
        plot_curve(heat, table.specific_heat, **style)
        plot_curve(m, table.abs_magnetization, **style)
        plot_curve(u4, table.binder_cumulant, **style)
        plot_curve(near, table.binder_cumulant, **style)
    bulk_style = {"ls": "--", "lw": 1.0, "color": "black", "zorder": 2}
    energy.plot(t, infinite.energy_per_site, label="infinite lattice", **bulk_style)
    heat.plot(t, infinite.specific_heat_per_site, **bulk_style)
    m.plot(t, infinite.magnetization, **bulk_style)
    energy.legend(frameon=False, loc="lower right")
    heat.text(1.6, 2.45, "points: simulation\nlines: exact solution")
    heat.set_ylim(0, 2.8)
    near.set(xlim=(2.19, 2.33), ylim=(0.555, 0.67), xticks=(2.2, 2.25, 2.3))
    near.tick_params(labelsize=6.5, pad=2)
    u4.set_xlim(1.55, 3.25)
    labels = (
        "energy per site $e$  [J]",
        "specific heat per site $c$  [$k_B$]",
        r"magnetization $\langle|m|\rangle$",
        "Binder cumulant $U_4$",
    )
    for ax, label in zip((energy, heat, m, u4, near), (*labels, ""), strict=True):
        ax.set_ylabel(label)
        ax.axvline(CRITICAL_TEMPERATURE, color="#888888", lw=0.7, zorder=0)
    m.text(CRITICAL_TEMPERATURE + 0.02, 0.96, "$T_c$", color="#666666")


def draw_pulls(axes, tables):
    for (n_side, table), color, marker in zip(tables.items(), COLORS, MARKERS, strict=False):
        for ax, values in zip(axes, pulls(n_side, table), strict=True):
            plot_pulls(ax, table.temperature, values, color=color, marker=marker)
    for ax, symbol in zip(axes, "ec", strict=True):
        ax.set_ylabel(f"pull of ${symbol}$")
        ax.set_xlabel("temperature  [$J/k_B$]")


def snapshots(n_side):
    """One lattice below, near, at and above the transition."""
    temperatures = np.array([1.8, 2.2, CRITICAL_TEMPERATURE, 2.4, 3.0])
    labels = ("T = 1.8", "T = 2.2", r"$T_c$ = 2.269", "T = 2.4", "T = 3.0")
    spins = Ising2D(n_side)(len(labels), {"beta": 1 / temperatures}, rng=1)["spins"]
    return list(zip(labels, spins, strict=True))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo/ising.png"))
    parser.add_argument("--quick", action="store_true", help="small lattices, few events")
    args = parser.parse_args(argv)

    tables = {}
    for n_side, n_events in (QUICK if args.quick else EVENTS).items():
        tables[n_side] = table = simulate(n_side, n_events)
        print(f"L = {n_side}\n{table}")
        for name, deviations in zip(
            ("energy", "specific heat"), pulls(n_side, table), strict=True
        ):
            chi2, largest = (deviations**2).sum(), np.abs(deviations).max()
            print(f"{name}: chi2 / temperatures = {chi2:.1f} / {len(table.beta)}, ", end="")
            print(f"largest pull {largest:.1f}")
        print()
    figure = figure_of(tables, snapshots(32 if args.quick else 128))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.output)
    print(f"figure: {args.output}")
    return tables


if __name__ == "__main__":
    main()
