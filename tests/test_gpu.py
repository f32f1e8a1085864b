"""The same mathematics on an accelerator: `pytest -m gpu` on a machine that has one."""

import numpy as np
import pytest
import torch

import physgen as pg
from physgen.random import PhiloxRandom, philox
from physgen.simulators import GaussianRing, IsingRing

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
