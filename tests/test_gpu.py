"""The same mathematics on an accelerator: `pytest -m gpu` on a machine that has one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import physgen as pg
from physgen.random import PhiloxRandom, philox
from physgen.simulators import GaussianRing, Ising2D, IsingRing
from physgen.simulators.ising_cuda import CudaFarm
from physgen.simulators.ising_exact import CRITICAL_BETA, energy_chi2, torus
from physgen.simulators.lattice import square, triangular
from physgen.simulators.spin_model import SpinModel

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]
FAMILIES = [pg.Diffusion, pg.GAN, pg.VAE, pg.RBM, pg.EBM]
CUDA = pg.TrainingConfig(device="cuda", steps=50)


def test_random_words_are_equal_on_both_devices():
    counter = torch.arange(40_000).reshape(4, -1)
    words = philox(counter.cuda(), (1, 2)).cpu()
    assert (words == philox(counter, (1, 2))).all()


def test_random_numbers_are_equal_on_both_devices():
    events = torch.arange(100_000)
    cpu, cuda = PhiloxRandom(7, events), PhiloxRandom(7, events.cuda())
    assert (cpu.uniform(100_000, 3) == cuda.uniform(100_000, 3).cpu()).all()
    # double-precision logarithms and cosines may differ in their last bit, which rounding to
    # float32 shows in about one of 1e8 numbers
    assert int((cpu.normal(100_000, 3) != cuda.normal(100_000, 3).cpu()).sum()) <= 2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("simulator", [GaussianRing(), IsingRing()])
def test_every_family_trains_and_samples(family, simulator, tmp_path):
    truth = simulator(4000, rng=0)
    surrogate = pg.Surrogate.fit(truth, family(), training=CUDA, rng=1)
    assert next(surrogate.model.parameters()).is_cuda
    fake = surrogate(500, _given(surrogate), rng=2)
    again = surrogate(100, _given(surrogate), rng=2)
    name = fake.schema.names[0]
    np.testing.assert_array_equal(fake[:100][name], again[name])
    surrogate.save(tmp_path / "run")
    loaded = pg.Surrogate.load(tmp_path / "run").to("cuda")
    np.testing.assert_array_equal(loaded(500, _given(surrogate), rng=2)[name], fake[name])


def test_a_seed_gives_the_same_weights_twice():
    truth = GaussianRing()(4000, rng=0)
    a, b = (pg.Surrogate.fit(truth, pg.Diffusion(), training=CUDA, rng=1) for _ in range(2))
    for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)


def _given(surrogate):
    return {name: span[0] for name, span in surrogate.conditions.ranges.items()}


# ---------------------------------------------------------------- Ising lattices


def ising_farm(model, beta, rule="metropolis", **options):
    start = np.ones((len(beta), model.lattice.n_sites), np.int8)
    return CudaFarm(model, beta, rule, start, 7, **options)


def test_ising_kernels_move_as_one_site_after_the_other():
    """The suite that CI runs in Triton's interpreter, in a process of its own, on the GPU."""
    suite = Path(__file__).with_name("ising_cuda_suite.py")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(suite)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("rule", ["metropolis", "heat_bath"])
@pytest.mark.parametrize("beta", [1 / 1.8, CRITICAL_BETA, 1 / 3.0])
def test_ising_energies_have_their_exact_law(rule, beta):
    farm = ising_farm(SpinModel(square((8, 8))), np.full(1 << 16, beta), rule)
    farm.sweep(400)
    energy = farm.measure()[0]
    assert energy_chi2(energy, 8, beta).p_value > 1e-3
    assert energy_chi2(energy, 8, 1.02 * beta).p_value < 1e-6
    exact = torus(8, beta)
    pull = (energy.mean() / 64 - exact.energy_per_site) / (energy.std() / 64 / 256)
    assert abs(pull) < 4


def test_ising_lattices_at_many_temperatures_on_an_odd_side():
    betas = np.linspace(0.2, 0.6, 8)
    lane = np.arange(1 << 16) % 8
    farm = ising_farm(SpinModel(square((9, 9))), betas[lane])
    farm.sweep(600)
    energy = farm.measure()[0]
    for k, beta in enumerate(betas):
        ours = energy[lane == k] / 81
        error = ours.std() / np.sqrt(len(ours))
        assert abs(ours.mean() - torus(9, beta).energy_per_site) < 4.5 * error


def test_ising_histories_depend_on_the_seed_alone():
    model, beta = SpinModel(triangular((10, 11))), np.linspace(0.1, 0.5, 1 << 12)
    first = ising_farm(model, beta)
    first.sweep(20)
    other = ising_farm(model, beta, tile=(64, 3))
    other.sweep(15)
    other.sweep(5)
    np.testing.assert_array_equal(first.spins(), other.spins())
    few = ising_farm(model, beta[:64])
    few.sweep(20)
    np.testing.assert_array_equal(few.spins(), first.spins()[:64])
    np.testing.assert_allclose(first.measure()[1], first.spins().mean(axis=1, dtype=float))


def test_ising_simulator_makes_independent_configurations():
    ising = Ising2D(16, device="cuda", observables=("energy",))
    events = ising(70_000, {"beta": CRITICAL_BETA}, rng=3)
    energy = events["energy"] / 256
    pull = (energy.mean() - torus(16, CRITICAL_BETA).energy_per_site) / (
        energy.std() / np.sqrt(len(energy))
    )
    assert abs(pull) < 4
    again = ising(1000, {"beta": CRITICAL_BETA}, rng=3)
    np.testing.assert_array_equal(events["spins"][:1000], again["spins"])


def test_ising_flips_are_fast():
    n_lanes, n_sweeps = 1 << 18, 50
    farm = ising_farm(SpinModel(square((32, 32))), np.full(n_lanes, CRITICAL_BETA))
    farm.sweep(100)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    farm.sweep(n_sweeps)
    end.record()
    end.synchronize()
    flips_per_ns = n_lanes * 1024 * n_sweeps / (start.elapsed_time(end) * 1e6)
    # far below any card of the last years: this finds a kernel that fell off its path
    assert flips_per_ns > 20
