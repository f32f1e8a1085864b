"""Parallel tempering: a double well that one chain cannot cross, swap rates, ladders, trips."""

import math

import numpy as np
import pytest
import torch

from physgen.mcmc import (
    HMC,
    Gibbs,
    Info,
    Metropolis,
    RandomWalk,
    geometric,
    parallel_tempering,
    run_chains,
    tempered,
    tune_ladder,
)
from physgen.random import PhiloxRandom

LADDER = (0.02, 0.06, 0.15, 0.4, 1.0)
WALK = Metropolis(proposal=RandomWalk(step_size=0.3))


def double_well(x):
    """Two wells at -1 and +1 with a barrier of 30, the left one deeper by 1."""
    return 30 * (x[:, 0].square() - 1).square() + 0.5 * x[:, 0]


def right(x):
    return (x[:, 0] > 0).double()


def occupancy(energy=double_well):
    """Exact probability of the right well, by a fine sum."""
    grid = torch.linspace(-3, 3, 60_001, dtype=torch.float64)[:, None]
    law = torch.softmax(-energy(grid), 0)
    return float(law[grid[:, 0] > 0].sum())


def temper(n_steps=1000, n_chains=30, rng=1, betas=LADDER, path=None, **settings):
    return parallel_tempering(
        WALK, path or tempered(double_well), torch.ones(len(betas), n_chains, 1), betas=betas,
        n_steps=n_steps, observables={"right": right, "x": lambda x: x[:, 0]}, rng=rng, **settings,
    )  # fmt: skip


@pytest.fixture(scope="module")
def result():
    # the copies start in one well; their share relaxes in about 50 steps
    return temper(n_burn_in=300, n_moves=2)


def test_both_wells_are_filled_as_they_should(result):
    m = result.chain.measure("right")
    assert abs(m.pull(occupancy())) < 4
    assert m.std_error < 0.03
    assert abs(m.pull(occupancy(lambda x: double_well(x) + 0.5 * x[:, 0]))) > 4


def test_a_single_chain_stays_where_it_was():
    """Negative control: without the ladder no chain leaves the right well."""
    chain = run_chains(
        WALK, double_well, torch.ones(30, 1), n_steps=500, observables={"right": right}, rng=1
    )
    assert (chain.series["right"] == 1).all()


def test_copies_travel_from_end_to_end(result):
    assert result.round_trips > 100
    assert result.from_cold[0] == 0
    assert result.from_cold[-1] == 1
    assert (np.diff(result.from_cold) > 0).all()
    assert result.swap_rates.shape == (4,)
    assert (result.swap_rates > 0.1).all()
    assert (result.swap_rates < 1).all()


def test_the_summary_tells_the_swaps(result):
    lines = result.summary().splitlines()
    assert lines[0].split() == ["mean", "error", "tau", "ESS", "R-hat"]
    assert lines[-1] == f"{result.round_trips} round trips of all copies of 30 chains"
    first = [float(word) for word in lines[-5].split()]
    assert first[:2] == [0.02, 0.06]
    assert first[2] == pytest.approx(result.swap_rates[0], abs=1e-3)


def test_no_swaps_no_trips():
    """Levels so far apart that nothing is exchanged: the cold rung is a single chain."""
    lonely = temper(50, betas=(1e-6, 1000.0))
    assert lonely.round_trips == 0
    assert (lonely.swap_rates < 0.1).all()


def test_swap_rates_of_normal_laws_are_exact():
    """A tempered normal number: <min(1, e^r)> is known in closed form for exact draws."""

    betas = (0.5, 1.0)

    def redraw(energy, state, *, rng):
        # copies change their places: what beta each has, its energy at x = 1 tells
        beta = (energy(torch.ones_like(state)) / 0.5).to(state.dtype)[:, None]
        return rng.normal(*state.shape) / beta.sqrt(), Info(torch.ones(len(state)))

    result = parallel_tempering(
        redraw, tempered(lambda x: x.square().sum(1) / 2), torch.ones(2, 500, 1), betas=betas,
        n_steps=200, rng=1,
    )  # fmt: skip
    # min(1, e^r) with r = (x^2/2 - y^2/2)(b - a), averaged on a grid of normal scores
    z = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(2000).double() + 0.5) / 2000)
    hot, cold = (z.square() / (2 * b) for b in betas)
    expected = ((betas[1] - betas[0]) * (cold[:, None] - hot[None, :])).clamp(max=0).exp().mean()
    n_attempts = 500 * 100
    assert abs(result.swap_rates[0] - float(expected)) < 4 * 0.4 / math.sqrt(n_attempts)


def test_a_tuned_ladder_swaps_equally_often():
    uneven = (0.02, 0.03, 0.05, 0.1, 1.0)
    ladder, spread = uneven, []
    for round_ in range(4):
        result = temper(200, 150, rng=round_, betas=ladder, n_burn_in=50)
        spread.append(result.swap_rates.max() - result.swap_rates.min())
        ladder = tune_ladder(ladder, result.swap_rates)
        assert (ladder[0], ladder[-1]) == (0.02, 1.0)
    assert spread[0] > 0.4
    assert spread[-1] < 0.1


def test_a_ladder_can_change_its_length():
    ladder = tune_ladder(LADDER, (0.5, 0.5, 0.5, 0.5), n_rungs=9)
    assert len(ladder) == 9
    assert ladder[::2] == pytest.approx(LADDER)
    assert tune_ladder((0.1, 0.2, 1.0), (1.0, 0.0))[1] > 0.2


def test_a_general_path_ends_in_its_target():
    """From a wide normal law to the double well; all rungs move by HMC."""
    base = lambda x: x[:, 0].square() / 2
    result = parallel_tempering(
        HMC(step_size=0.07, n_leapfrog=5), geometric(base, double_well), torch.ones(6, 40, 1),
        betas=(0, 0.03, 0.08, 0.2, 0.5, 1), n_steps=300, n_burn_in=150, rng=2,
        observables={"right": right},
    )  # fmt: skip
    assert abs(result.chain.measure("right").pull(occupancy())) < 4
    mean_energy = torch.linspace(-3, 3, 60_001, dtype=torch.float64)[:, None]
    law = torch.softmax(-double_well(mean_energy), 0)
    exact = float((law * double_well(mean_energy)).sum())
    assert abs(result.chain.measure("energy").pull(exact)) < 4


def test_every_rung_has_its_own_law():
    """Final states of many chains on a ladder of free spins in a field: <s> = tanh(beta)."""
    betas = (0.0, 0.3, 0.7, 1.0)
    field = tempered(lambda s: -s.sum(1))
    result = parallel_tempering(
        Gibbs(sweep=True), field, torch.ones(4, 2000, 3, dtype=torch.int8), betas=betas,
        n_steps=6, rng=3,
    )  # fmt: skip
    assert result.state.shape == (4, 2000, 3)
    assert result.state.dtype == torch.int8
    mean = result.state.double().flatten(1).mean(1)
    assert ((mean - torch.tensor(betas).double().tanh()).abs() < 4 / 6000**0.5).all()


def test_a_seed_makes_the_run_and_chains_do_not_see_each_other():
    one, two = temper(40, 6, rng=5), temper(40, 6, rng=5)
    few = temper(40, 2, rng=5)
    assert torch.equal(one.state, two.state)
    assert np.array_equal(one.chain.series["x"], two.chain.series["x"])
    assert np.array_equal(one.chain.series["x"][:, :2], few.chain.series["x"])
    assert torch.equal(one.state[:, :2], few.state)
    assert not torch.equal(one.state, temper(40, 6, rng=6).state)


def test_a_run_goes_on_from_its_state():
    rng = PhiloxRandom(7, torch.arange(5))
    whole = temper(40, 5, rng=PhiloxRandom(7, torch.arange(5)))
    first = temper(20, 5, rng=rng)
    second = parallel_tempering(
        WALK, tempered(double_well), first.state, betas=LADDER, n_steps=20, rng=rng,
        observables={"right": right, "x": lambda x: x[:, 0]},
    )  # fmt: skip
    # copies keep their own draws in one long run, and are renumbered by rung in a second one
    assert np.array_equal(whole.chain.series["x"][:20], first.chain.series["x"])
    assert first.chain.extend(second.chain).n_records == 40


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"two or more increasing numbers.*got \(1\.0, 0\.5\)"):
        temper(betas=(1.0, 0.5))
    with pytest.raises(ValueError, match="two or more increasing"):
        temper(betas=(1.0,))
    with pytest.raises(
        ValueError, match=r"shape \(5, n_chains, \.\.\.\) for 5 betas, got \(4, 3, 1\)"
    ):
        parallel_tempering(
            WALK, tempered(double_well), torch.ones(4, 3, 1), betas=LADDER, n_steps=1, rng=1
        )
    with pytest.raises(ValueError, match="n_steps must be 1 or more"):
        temper(0)
    with pytest.raises(ValueError, match=r"swap_rates must be 4 numbers in \[0, 1\] for 5 betas"):
        tune_ladder(LADDER, (0.5, 0.5, math.nan, 0.1))
