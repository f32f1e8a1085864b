"""Hamiltonian moves, and the search for a step size."""

import math

import pytest
import torch

from physgen.mcmc import (
    HMC,
    Gibbs,
    Langevin,
    Metropolis,
    RandomWalk,
    SingleFlip,
    run,
    run_chains,
    tune_step_size,
)
from physgen.random import PhiloxRandom

WIDTHS = torch.tensor([0.1, 1.0, 10.0])


def stretched(x):
    """Independent normal numbers of very different widths."""
    return (x / WIDTHS).square().sum(1) / 2


def unit(x):
    return x.square().sum(1) / 2


@pytest.mark.parametrize("scale", [1e-3, 30.0])
@pytest.mark.parametrize(
    ("kernel", "target"),
    [
        (HMC(n_leapfrog=5), 0.8),
        (Langevin(step_size=0.1, adjust=True), 0.574),
        (Metropolis(proposal=RandomWalk(step_size=0.5)), 0.234),
    ],
)
def test_dual_averaging_reaches_its_target(kernel, target, scale):
    energy = lambda x: unit(x / scale)
    start = scale * PhiloxRandom(0, torch.arange(200)).normal(200, 10)
    tuned, state = tune_step_size(kernel, energy, start, target=target, n_steps=300, rng=1)
    assert type(tuned) is type(kernel)
    rng = PhiloxRandom(2, torch.arange(200))
    _, info = run(tuned, energy, state, 30, rng=rng)
    assert abs(float(info.acceptance.mean()) - target) < 0.05
    _, info = run(kernel, energy, state, 30, rng=rng)
    assert abs(float(info.acceptance.mean()) - target) > 0.05


def test_tuning_keeps_the_other_settings_and_the_kernel_given():
    kernel = HMC(n_leapfrog=7, jitter=0.1, inverse_mass=WIDTHS.square())
    tuned, _ = tune_step_size(kernel, stretched, torch.zeros(50, 3), n_steps=20, rng=1)
    assert (tuned.n_leapfrog, tuned.jitter) == (7, 0.1)
    assert tuned.inverse_mass is kernel.inverse_mass
    assert kernel.step_size == 0.1
    assert tuned.step_size != 0.1


def test_the_inverse_mass_makes_all_widths_alike():
    """Exact variances, which the same number of moves with equal masses does not reach."""
    squares = {f"x{i}": (lambda x, i=i: x[:, i].square()) for i in range(3)}
    settings = {"n_steps": 300, "n_burn_in": 50, "observables": squares, "rng": 3}
    kernel = HMC(step_size=0.4, n_leapfrog=4, inverse_mass=WIDTHS.square())
    chain = run_chains(kernel, stretched, torch.zeros(50, 3), **settings)
    pulls = [chain.measure(f"x{i}").pull(float(WIDTHS[i] ** 2)) for i in range(3)]
    assert max(map(abs, pulls)) < 4
    equal = run_chains(HMC(step_size=0.1, n_leapfrog=4), stretched, torch.zeros(50, 3), **settings)
    assert equal.series["x2"].mean() < 0.5 * WIDTHS[2] ** 2


def test_jitter_breaks_a_periodic_orbit():
    """A path of a full period comes back to its start; the energy forgets nothing."""
    n_leapfrog = 20
    # the leapfrog of a harmonic oscillator turns by 2 asin(step/2) per step
    step = 2 * math.sin(math.pi / n_leapfrog)
    start = PhiloxRandom(0, torch.arange(100)).normal(100, 1)
    rng = PhiloxRandom(1, torch.arange(100))
    stuck, _ = HMC(step_size=step, n_leapfrog=n_leapfrog, jitter=0)(unit, start, rng=rng)
    assert torch.allclose(stuck, start, atol=1e-4)
    moved, info = HMC(step_size=step, n_leapfrog=n_leapfrog)(unit, start, rng=rng)
    assert (moved - start).abs().mean() > 0.3
    assert info.acceptance.mean() > 0.9


def test_leapfrog_error_falls_with_the_square_of_the_step():
    start = PhiloxRandom(0, torch.arange(2000)).normal(2000, 10)

    def rejected(step):
        kernel = HMC(step_size=step, n_leapfrog=round(1 / step), jitter=0)
        return 1 - float(
            kernel(unit, start, rng=PhiloxRandom(1, torch.arange(2000)))[1].acceptance.mean()
        )

    assert 3 < rejected(0.5) / rejected(0.25) < 5.5


def test_spins_and_empty_settings_are_refused():
    rng = PhiloxRandom(0, torch.arange(2))
    for kernel in (HMC(), Langevin(adjust=True)):
        with pytest.raises(TypeError, match=r"real coordinates, got states of torch.int8; use"):
            kernel(unit, torch.ones(2, 4, dtype=torch.int8), rng=rng)
    with pytest.raises(ValueError, match="step_size of HMC must be positive, got -1"):
        HMC(step_size=-1)
    with pytest.raises(ValueError, match="n_leapfrog of HMC must be 1 or more, got 0"):
        HMC(n_leapfrog=0)
    with pytest.raises(ValueError, match=r"jitter of HMC must be in \[0, 1\), got 1"):
        HMC(jitter=1)
    with pytest.raises(ValueError, match="inverse_mass of HMC must be positive"):
        HMC(inverse_mass=torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="step_size of RandomWalk must be positive, got 0"):
        RandomWalk(step_size=0)


def test_what_has_no_step_to_tune_is_refused():
    start = torch.zeros(4, 2)
    with pytest.raises(ValueError, match="use adjust=True to tune it"):
        tune_step_size(Langevin(), unit, start, rng=1)
    anything = Metropolis(proposal=lambda x, *, rng: (x + rng.normal(*x.shape), None))
    for kernel in (SingleFlip(), Gibbs(), anything):
        with pytest.raises(TypeError, match="has no step size; HMC, Langevin"):
            tune_step_size(kernel, unit, start, rng=1)
    with pytest.raises(ValueError, match=r"acceptance in \(0, 1\), got 80"):
        tune_step_size(HMC(), unit, start, target=80, rng=1)
    with pytest.raises(ValueError, match="n_steps must be 1 or more, got 0"):
        tune_step_size(HMC(), unit, start, n_steps=0, rng=1)
    # one step is a little, but allowed
    tuned, _ = tune_step_size(HMC(), unit, start, n_steps=1, rng=1)
    assert tuned.step_size != HMC().step_size
