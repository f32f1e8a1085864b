"""Chains: what they record, what they say, and that two runs in turn are one long run."""

import math

import numpy as np
import pytest
import torch

from physgen.mcmc import (
    HMC,
    Blocks,
    ChainTooShortError,
    Gibbs,
    Langevin,
    Metropolis,
    RandomWalk,
    SingleFlip,
    run_chains,
)
from physgen.random import GeneratorRandom, PhiloxRandom

BONDS = math.tanh(0.4)  # <s_i s_{i+1}> of an open chain at beta = 0.4


def open_chain(s):
    return -0.4 * (s[:, 1:] * s[:, :-1]).sum(1)


def first_bond(s):
    return s[:, 0] * s[:, 1]


def run_open_chain(n_steps=2000, n_chains=8, rng=1, **settings):
    start = torch.ones(n_chains, 6)
    return run_chains(
        SingleFlip(), open_chain, start, n_steps=n_steps, rng=rng,
        observables={"bond": first_bond, "m": lambda s: s.mean(1)}, **settings,
    )  # fmt: skip


@pytest.fixture(scope="module")
def chain():
    return run_open_chain(n_burn_in=200, thin=2)


def test_means_agree_with_the_exact_ones(chain):
    assert abs(chain.measure("bond").pull(BONDS)) < 4
    assert abs(chain.measure("energy").pull(-0.4 * 5 * BONDS)) < 4
    assert abs(chain.measure("m").pull(0)) < 4
    assert chain.measure("bond").tau > 0.7
    assert chain.measure("bond").std_error < 0.03


def test_a_wrong_temperature_shows(chain):
    assert abs(chain.measure("bond").pull(math.tanh(0.6))) > 4


def test_a_function_of_means_has_an_error(chain):
    squared = chain.measure("bond", "energy", function=lambda b, e: b - e / 5)
    assert abs(squared.pull(1.4 * BONDS)) < 4
    with pytest.raises(KeyError, match="no series 'bonds'; there are energy, bond, m"):
        chain.measure("bonds")


def test_shapes_and_dtypes(chain):
    assert {n: s.shape for n, s in chain.series.items()} == dict.fromkeys(
        ("energy", "bond", "m"), (1000, 8)
    )
    assert all(s.dtype == np.float64 for s in chain.series.values())
    assert chain.n_records == 1000
    assert chain.acceptance.shape == (8,)
    assert (chain.acceptance > 0).all()
    assert (chain.acceptance <= 1).all()
    assert chain.states is None


@pytest.mark.parametrize(
    ("kernel", "energy"),
    [
        (SingleFlip(), open_chain),
        (Gibbs(block_size=2), open_chain),
        (HMC(n_leapfrog=2), lambda x: x.square().sum(1) / 2),
        (Metropolis(proposal=RandomWalk()), lambda x: x.square().sum(1) / 2),
    ],
)
@pytest.mark.parametrize("source", ["philox", "generator"])
def test_two_runs_in_turn_equal_one_long_run(kernel, energy, source):
    def rng():
        if source == "philox":
            return PhiloxRandom(5, torch.arange(4))
        return GeneratorRandom(torch.Generator().manual_seed(5))

    settings = {"thin": 2, "keep_states": True, "observables": {"m": lambda s: s.mean(1)}}
    start = torch.ones(4, 6)
    whole = run_chains(kernel, energy, start, n_steps=60, n_burn_in=7, rng=rng(), **settings)
    source = rng()
    first = run_chains(kernel, energy, start, n_steps=20, n_burn_in=7, rng=source, **settings)
    second = run_chains(kernel, energy, first.state, n_steps=40, rng=source, **settings)
    both = first.extend(second)
    assert torch.equal(both.state, whole.state)
    assert torch.equal(both.states, whole.states)
    for name, series in whole.series.items():
        assert np.array_equal(both.series[name], series)
    assert both.acceptance == pytest.approx(whole.acceptance)


def test_a_chain_does_not_depend_on_the_number_of_chains():
    many, few = (run_open_chain(100, n, rng=3) for n in (8, 3))
    assert np.array_equal(many.series["m"][:, :3], few.series["m"])
    other = run_open_chain(100, 3, rng=4)
    assert not np.array_equal(other.series["m"], few.series["m"])


def test_states_are_those_of_the_series():
    chain = run_open_chain(30, keep_states=True, thin=3)
    assert chain.states.shape == (10, 8, 6)
    assert torch.equal(chain.states[-1], chain.state)
    assert np.allclose(chain.states.mean(2), chain.series["m"])


def test_the_summary_is_a_table(chain):
    lines = chain.summary().splitlines()
    assert lines[0].split() == ["mean", "error", "tau", "ESS", "R-hat"]
    assert [line.split()[0] for line in lines[1:]] == ["energy", "bond", "m", "acceptance"]
    _, mean, _, error, tau, ess, r_hat = lines[2].split()
    bond = chain.measure("bond")
    assert float(mean) == pytest.approx(bond.value, rel=1e-4)
    assert float(error) == pytest.approx(bond.std_error, rel=0.05)
    assert float(tau) == pytest.approx(bond.tau, abs=0.01)
    assert float(ess) == pytest.approx(bond.n_effective, abs=1)
    assert 0.99 < float(r_hat) < 1.05
    assert "8 chains of 1000 records x 2 moves" in lines[-1]


def test_a_chain_too_short_says_so_with_its_estimate():
    slow = Metropolis(proposal=RandomWalk(step_size=0.03))
    energy = lambda x: x.square().sum(1) / 2
    chain = run_chains(slow, energy, torch.zeros(2, 1), n_steps=300, rng=1)
    with pytest.raises(ChainTooShortError) as error:
        chain.measure("energy")
    assert error.value.tau > 5
    assert "too short for an error: tau is about" in chain.summary()


def test_divergent_moves_are_counted_and_named():
    quartic = lambda x: x.square().square().sum(1)
    far = torch.full((4, 1), 30.0)
    kernel = HMC(step_size=0.5, n_leapfrog=20)
    chain = run_chains(kernel, quartic, far, n_steps=20, keep_states=True, rng=1)
    assert chain.n_divergent == 80
    assert (chain.states == 30).all()
    assert "80   moves: the step is too long somewhere" in chain.summary()
    parts = Blocks(kernels=(kernel, Langevin(adjust=True)), columns=((0,), (0,)))
    assert run_chains(parts, quartic, far, n_steps=5, rng=1).n_divergent == 20


def test_what_cannot_be_is_refused():
    start = torch.ones(3, 6)
    with pytest.raises(ValueError, match="positive multiple of thin, got n_steps=10 and thin=3"):
        run_chains(SingleFlip(), open_chain, start, n_steps=10, thin=3, rng=1)
    with pytest.raises(ValueError, match=r"one number per chain, shape \(3,\).*returned \(\)"):
        run_chains(SingleFlip(), lambda s: open_chain(s).sum(), start, n_steps=1, rng=1)
    with pytest.raises(ValueError, match=r"observable 'm' must return one number .*\(3, 6\)"):
        run_chains(
            SingleFlip(), open_chain, start, n_steps=1, rng=1, observables={"m": lambda s: s}
        )
    with pytest.raises(ValueError, match="'energy' is recorded anyway"):
        run_chains(
            SingleFlip(), open_chain, start, n_steps=1, rng=1, observables={"energy": open_chain}
        )
    with pytest.raises(ValueError, match="the energy at the start of chain 1 is nan"):
        run_chains(
            HMC(), lambda x: x[:, 0].square(), torch.tensor([[1.0], [math.nan]]), n_steps=1, rng=1
        )
    with pytest.raises(ValueError, match=r"8 chains, .* cannot be extended by one with 3 chains"):
        run_open_chain(10).extend(run_open_chain(10, 3))
    with pytest.raises(TypeError, match="rng must be an integer seed"):
        run_open_chain(10, rng=True)
