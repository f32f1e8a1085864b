"""
A surrogate that proposes to a Markov chain
===========================================

A trained model is fast and a little wrong; the exact energy is right and slow to sample. Together
they are fast and right: the model proposes, a Metropolis test with the exact energy decides, and a
sweep of local moves follows.

A restricted Boltzmann machine learns 4 x 4 Ising lattices at the critical point. Alone, its mean
energy is off by many standard errors. As a proposal, it gives the exact value, which on 16
spins is known from all 65,536 states.

.. code-block:: sh

    python examples/neural_mcmc.py [--quick]
"""

import argparse

import torch

import physgen as pg
from physgen import mcmc
from physgen.random import GeneratorRandom, as_generator
from physgen.simulators import Ising2D
from physgen.simulators.ising_exact import CRITICAL_BETA, torus


def energy(spins):
    """Beta times the Ising energy, of states (n_chains, 4, 4)."""
    neighbors = spins.roll(1, dims=1) + spins.roll(1, dims=2)
    return -CRITICAL_BETA * (spins * neighbors).sum(dim=(1, 2))


def per_site(spins):
    return energy(spins) / (16 * CRITICAL_BETA)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args(argv)

    ising = Ising2D(n_side=4)
    truth = ising(20_000, {"beta": CRITICAL_BETA}, rng=1)
    training = pg.Events.from_dict({"spins": truth["spins"]})
    rbm = pg.RBM(n_hidden=32, n_chains=512)
    surrogate = pg.Surrogate.fit(training, rbm, steps=50 if args.quick else 400, rng=2)
    model = surrogate.model

    # the machine's own block Gibbs moves obey detailed balance with its free energy
    def gibbs(_, state, *, rng):
        none = torch.empty(len(state), 0)
        moved = model.gibbs(state.flatten(1), none, 1, rng=rng)
        return moved.view_as(state), mcmc.Info(torch.ones(len(state)))

    def free_energy(state):
        return model.free_energy(state.flatten(1), torch.empty(len(state), 0))

    proposal = mcmc.SurrogateMoves(kernel=gibbs, energy=free_energy, n_steps=5)
    jump, sweep = mcmc.Metropolis(proposal=proposal), mcmc.Gibbs(sweep=True)

    # a state that the machine thinks improbable would be held for long: local moves free it
    def move(exact_energy, state, *, rng):
        state, info = jump(exact_energy, state, rng=rng)
        return sweep(exact_energy, state, rng=rng)[0], info

    start = torch.from_numpy(truth["spins"][:500]).float()
    with torch.no_grad():
        chain = mcmc.run_chains(
            move,
            energy,
            start,
            n_steps=100 if args.quick else 400,
            n_burn_in=20,
            observables={"energy per site": per_site},
            rng=GeneratorRandom(as_generator(3)),
        )
    made = surrogate(2000 if args.quick else 20_000, rng=4)
    alone = per_site(torch.from_numpy(made["spins"]).double())

    exact = torus(4, CRITICAL_BETA).energy_per_site
    corrected = chain.measure("energy per site")
    uncorrected = mcmc.measure(alone.numpy())
    print(f"exact                {exact:.6f}")
    print(f"surrogate alone      {uncorrected}, {uncorrected.pull(exact):+.1f} sigma")
    print(f"as a proposal        {corrected}, {corrected.pull(exact):+.1f} sigma")
    print(f"acceptance           {chain.acceptance.mean():.2f}, tau {corrected.tau:.2f} moves")
    return {"exact": exact, "alone": uncorrected, "corrected": corrected}


if __name__ == "__main__":
    main()
