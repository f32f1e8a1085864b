"""
From digits to physics
======================

The same five lines on spins and on showers in a calorimeter, and what a comparison says of what
they made.
"""

import numpy as np
from matplotlib.figure import Figure

import physgen as pg
from physgen.lectures import chapter
from physgen.models import VoxelTransformer
from physgen.observables import ising_energy
from physgen.plotting.style import COLORS, styled
from physgen.simulators import Ising2D

run = chapter()
showers = pg.read_events(run.sample("showers.h5"), binning=run.sample("binning_576.xml"))

# %%
# Read or simulate, split, learn, make, compare: whatever the events are. What is compared are the
# numbers that physicists look at, which were in no loss.


def five_lines(truth, settings, steps, numbers):
    training = pg.TrainingConfig(steps=5 if run.quick else steps, batch_size=64)
    train, test = truth.split(0.75, rng=0)
    surrogate = pg.Surrogate.fit(train, settings, training=training, rng=1)
    fake = surrogate(len(test), test, rng=2, extrapolate=True)  # by a hair, at the edges
    found = [numbers(events) for events in (test, fake)]
    report = pg.compare(*(pg.Events.from_dict(columns) for columns in found), rng=3)
    print(f"{surrogate}\n  {report.verdict}\n  {report.worth}\n")
    return found


# %%
# Spins at the critical point, by a Boltzmann machine that knows two symmetries.


def of_lattices(events):
    s = events["spins"]
    return {"energy": ising_energy(s).astype(float), "magnetization": s.mean((1, 2))}


lattices = Ising2D(n_side=8)(400 if run.quick else 6000, {"beta": 0.4406868}, rng=1)
rbm = pg.RBM(n_hidden=64, flip_symmetric=True, translation_symmetric=True)
spins = five_lines(lattices, rbm, 400, of_lattices)

# %%
# Showers of electrons in a calorimeter of 12 layers, by a diffusion model: energies first, then
# the cells. The file is one of the repository's samples. Depth is the mean layer of the energy.


def of_showers(events):
    layers = events["showers"].reshape(-1, 12, 48).sum(2)
    response = layers.sum(1) / events["incident_energies"].reshape(-1)
    return {"response": response, "depth": layers @ np.arange(12.0) / layers.sum(1)}


small = VoxelTransformer(n_hidden=32, n_blocks=2, n_heads=1)
diffusion = pg.Diffusion(network=small, sampler="dpm", n_sampling_steps=12)
cells = five_lines(showers[:200] if run.quick else showers, diffusion, 300, of_showers)

# %%
# The laws of these numbers, simulated and learned.
fig = Figure(figsize=(8.4, 2.8), layout="constrained")
shown = (
    (spins, "energy", "energy of a lattice [J]", np.arange(-130, 10, 8)),
    (cells, "response", "energy seen / energy of the electron", np.linspace(0.5, 1.3, 25)),
    (cells, "depth", "mean layer of the energy", np.linspace(0, 8, 25)),
)
for ax, (found, name, label, bins) in zip(fig.subplots(1, 3), shown, strict=True):
    for color, columns, source in zip(COLORS, found, ("simulated", "learned"), strict=False):
        ax.hist(columns[name], bins, density=True, histtype="step", color=color, label=source)
    ax.set(xlabel=label, ylabel="density")
    styled(ax).legend(frameon=False, fontsize=7.5)
run.save(fig, "physics")
