"""
From digits to physics
======================

The same five lines on spins and on showers in a calorimeter, and what a comparison says of what
they made.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import physgen as pg
from physgen.lectures import chapter
from physgen.models import VoxelTransformer
from physgen.observables import ising_energy
from physgen.plotting.style import COLORS, styled
from physgen.simulators import Ising2D

run = chapter()

# %%
# Read or simulate, split, learn, make, compare: whatever the events are.


def five_lines(truth, settings, steps):
    training = pg.TrainingConfig(steps=5 if run.quick else steps, batch_size=64)
    train, test = truth.split(0.75, rng=0)
    surrogate = pg.Surrogate.fit(train, settings, training=training, rng=1)
    fake = surrogate(len(test), test, rng=2)
    report = pg.compare(test, fake, rng=3)
    print(f"{surrogate}\n  {report.verdict}\n  {report.worth}\n")
    return test, fake


# %%
# Spins at the critical point, by a Boltzmann machine that knows two symmetries.
lattices = Ising2D(n_side=8)(400 if run.quick else 6000, {"beta": 0.4406868}, rng=1)
rbm = pg.RBM(n_hidden=64, flip_symmetric=True, translation_symmetric=True)
spins = [events["spins"] for events in five_lines(lattices, rbm, 400)]

# %%
# Showers of electrons in a calorimeter of 12 layers, by a diffusion model: energies first, then
# the cells. The file is one of the repository's samples.
data = Path(pg.__file__).parents[1] / "data"
showers = pg.read_events(data / "showers.h5", binning=data / "binning_576.xml")
small = VoxelTransformer(n_hidden=32, n_blocks=2, n_heads=1)
diffusion = pg.Diffusion(network=small, sampler="dpm", n_sampling_steps=12)
cells = five_lines(showers[:200] if run.quick else showers, diffusion, 400)
layers = [events["showers"].reshape(-1, 12, 48).sum(2) / 1000 for events in cells]

# %%
# What physicists look at was in none of the losses: the energy of a lattice, the profile of a
# shower, the energy that the calorimeter sees of that of the electron.
fig = Figure(figsize=(8.4, 2.8), layout="constrained")
energies, profile, response = fig.subplots(1, 3)
seen = [e["showers"].sum(1) / e["incident_energies"].reshape(-1) for e in cells]
for color, k, label in ((COLORS[0], 0, "simulated"), (COLORS[1], 1, "learned")):
    how = {"histtype": "step", "density": True, "color": color, "label": label}
    energies.hist(ising_energy(spins[k]), np.arange(-130, 10, 8), **how)
    profile.errorbar(
        np.arange(12), layers[k].mean(0), layers[k].std(0) / len(layers[k]) ** 0.5,
        fmt=".-", color=color, label=label, linewidth=1,
    )  # fmt: skip
    response.hist(seen[k], np.linspace(0.5, 1.3, 30), **how)
energies.set(xlabel="energy of a lattice [J]", ylabel="density")
profile.set(xlabel="layer", ylabel="mean energy [GeV]")
response.set(xlabel="energy seen / energy of the electron", ylabel="density")
for ax in (energies, profile, response):
    styled(ax).legend(frameon=False, fontsize=7.5)
run.save(fig, "physics")
