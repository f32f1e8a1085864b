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
from physgen.models import PCD
from physgen.random import GeneratorRandom, as_generator
from physgen.simulators import Ising2D
from physgen.simulators.ising_exact import CRITICAL_BETA, torus


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args(argv)

    ising = Ising2D(n_side=4)
    energy = ising.reduced_energy(CRITICAL_BETA)
    truth = ising(20_000, {"beta": CRITICAL_BETA}, rng=1)
    training = pg.Events.from_dict({"spins": truth["spins"]})
    rbm = pg.RBM(n_hidden=32, chains=PCD(n_chains=512))
    surrogate = pg.Surrogate.fit(training, rbm, steps=50 if args.quick else 400, rng=2)

    jump = mcmc.Metropolis(proposal=surrogate.model.moves(n_steps=5))
    sweep = mcmc.Gibbs(sweep=True)

    # a state that the machine thinks improbable would be held for long: local moves free it
    def move(exact_energy, state, *, rng):
        state, info = jump(exact_energy, state, rng=rng)
        return sweep(exact_energy, state, rng=rng)[0], info

    chain = mcmc.run_chains(
        move,
        energy,
        torch.from_numpy(truth["spins"][:500]),
        n_steps=100 if args.quick else 400,
        n_burn_in=20,
        observables={"energy per site": lambda s: energy(s) / (16 * CRITICAL_BETA)},
        rng=GeneratorRandom(as_generator(3)),
    )
    made = surrogate(2000 if args.quick else 20_000, rng=4)
    alone = ising.energy(made["spins"]) / 16

    exact = torus(4, CRITICAL_BETA).energy_per_site
    corrected = chain.measure("energy per site")
    uncorrected = mcmc.measure(alone)
    print(f"exact                {exact:.6f}")
    print(f"surrogate alone      {uncorrected}, {uncorrected.pull(exact):+.1f} sigma")
    print(f"as a proposal        {corrected}, {corrected.pull(exact):+.1f} sigma")
    print(f"acceptance           {chain.acceptance.mean():.2f}, tau {corrected.tau:.2f} moves")
    return {"exact": exact, "alone": uncorrected, "corrected": corrected}


if __name__ == "__main__":
    main()
