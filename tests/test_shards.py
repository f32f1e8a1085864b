"""Jobs that share one sample make exactly its events, whoever makes them and however many."""

import itertools

import awkward as ak
import numpy as np
import pytest

import physgen as pg
from physgen import blocks
from physgen.models import PCD, ContrastiveDivergence, MLPEnergy, Perceptron
from physgen.shards import Shard, event_range, pieces_of
from physgen.simulators import GaussianRing, Ising2D, IsingRing

N = 600
EDGES = (0, 1, 256, 300, 599, 600)


def same(a, b):
    assert a.schema == b.schema
    assert all(ak.array_equal(a[n], b[n], dtype_exact=True) for n in a.schema.names)


# ---------------------------------------------------------------- which events


@pytest.mark.parametrize("n_events", [7, 100, 16_384, 100_003])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("unit", [1, 256, 16_384])
def test_shards_cover_every_event_once(n_events, count, unit):
    spans = [Shard(k, count).span(n_events, unit) for k in range(1, count + 1)]
    assert spans[0][0] == 0
    assert spans[-1][1] == n_events
    assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))
    sizes = [stop - first for first, stop in spans]
    assert min(sizes) > 0
    of_units = -(-n_events // unit) >= count
    assert max(sizes) - min(sizes) < 2 * (unit if of_units else 1)
    if of_units:
        assert all(first % unit == 0 for first, _ in spans)


@pytest.mark.parametrize("text", ["0/3", "4/3", "-1/3", "2/0", "2", "a/b", "1/3/2", "1.5/3", ""])
def test_shards_that_are_none(text):
    with pytest.raises(ValueError, match=r"shard .*; write k/n|no shard .*: write k/n"):
        Shard.parse(text)


def test_a_shard_without_events_is_refused():
    assert Shard(3, 3).span(3) == (2, 3)
    with pytest.raises(ValueError, match=r"3 events cannot be shared by 4 shards.* use 3 "):
        Shard(1, 4).span(3)


def test_pieces_end_at_the_same_events_wherever_they_begin():
    assert list(pieces_of(0, 10, 4)) == [(0, 4), (4, 8), (8, 10)]
    assert list(pieces_of(5, 10, 4)) == [(5, 8), (8, 10)]
    assert list(pieces_of(5, 5, 4)) == []


@pytest.mark.parametrize(("first", "stop"), [(-1, None), (11, None), (3, 2), (0, 11)])
def test_parts_that_do_not_lie_in_the_sample(first, stop):
    with pytest.raises(ValueError, match=r"(first|stop)_event must be"):
        event_range(10, first, stop)


# ---------------------------------------------------------------- surrogates


def spins(n):
    beta = np.linspace(0.2, 0.6, n)
    return IsingRing(n_spins=5)(n, {"beta": beta}, rng=1)


def numbers(n):
    """A jagged collection, an integer, and a condition; the weight is a constant in samples."""
    random = np.random.default_rng(2)
    energy = random.uniform(1, 10, n).astype(np.float32)
    counts = random.poisson(energy / 3)
    jets = ak.unflatten(random.exponential(20, counts.sum()).astype(np.float32), counts)
    events = pg.Events.from_dict(
        {"energy": energy, "x": random.normal(size=n), "k": random.integers(0, 40, n),
         "Jet_pt": jets, "w": random.uniform(0.5, 2, n)}
    )  # fmt: skip
    schema = events.schema.with_roles(conditions=["energy"]).with_field("w", role="weight")
    return events.replace_schema(schema)


def contrast(n_steps):
    return ContrastiveDivergence(n_steps=n_steps, n_steps_sample=2, n_chains=512)


MODELS = {
    "vae": (numbers, pg.VAE(n_hidden=16), {}),
    "gan": (numbers, pg.GAN(n_hidden=16, n_layers=2), {}),
    "diffusion": (numbers, pg.Diffusion(n_hidden=16, n_sampling_steps=3), {}),
    "rbm": (spins, pg.RBM(n_hidden=6, chains=PCD(n_steps=1, n_chains=512), n_steps_sample=3), {}),
    "rbm-pt": (spins, pg.RBM(n_hidden=6, n_steps_sample=2), {"sampler": "pt"}),
    "rbm-ptt": (spins, pg.RBM(n_hidden=6, n_steps_sample=2), {"sampler": "ptt"}),
    "ebm": (spins, pg.EBM(network=MLPEnergy(n_hidden=8), objective=contrast(2)), {}),
    "masked": (
        spins,
        pg.MaskedDiffusion(network=Perceptron(n_hidden=16, n_blocks=1), n_sampling_steps=2),
        {},
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_any_parts_of_any_family_are_those_of_the_whole(name, monkeypatch):
    """Chains too: each event has one of its own, whose draws are those of its number."""
    make, model, effort = MODELS[name]
    truth = make(N)
    conditions = {n: truth[n] for n in truth.schema.with_role("condition")}
    surrogate = pg.Surrogate.fit(truth, model, steps=5, rng=3)
    whole = surrogate(N, conditions, rng=4, **effort)
    monkeypatch.setattr(blocks, "_MAX_PIECE", 256)
    parts = [
        piece
        for a, b in itertools.pairwise(EDGES)
        for piece in surrogate.stream(
            N, conditions, rng=4, first_event=a, stop_event=b, **effort
        )
    ]  # fmt: skip
    assert len(parts) == 6  # (300, 599) is cut at the edge of a block
    same(pg.concatenate(parts), whole)
    other = surrogate(N, conditions, rng=5, **effort)
    assert not all(ak.array_equal(other[n], whole[n]) for n in whole.schema.names)


def test_students_too():
    truth = numbers(N)[["x", "k"]]
    teacher = pg.Surrogate.fit(truth, pg.Diffusion(n_hidden=16), steps=5, rng=3)
    student = pg.distill(teacher, 2, n_events=50, steps=5, rng=1)
    whole = student(N, rng=4)
    parts = [
        part
        for a, b in itertools.pairwise(EDGES)
        for part in student.stream(N, rng=4, first_event=a, stop_event=b)
    ]
    same(pg.concatenate(parts), whole)


def test_a_part_says_what_the_whole_says_of_its_conditions():
    """The convention "extrapolated" would differ between files that are to be joined."""
    truth = numbers(N)[["x", "energy"]]
    surrogate = pg.Surrogate.fit(truth, pg.VAE(n_hidden=8), steps=2, rng=3)
    given = {"energy": np.where(np.arange(40) < 20, 5.0, 50.0).astype(np.float32)}
    with pytest.raises(pg.ConditionError, match="20 of 40 values"):
        surrogate.stream(40, given, rng=1, stop_event=10)
    part = next(surrogate.stream(40, given, rng=1, stop_event=10, extrapolate=True))
    assert part.schema.conventions["extrapolated"] == "energy"


# ---------------------------------------------------------------- simulators


@pytest.mark.parametrize("simulator", [GaussianRing(), IsingRing(n_spins=5)])
def test_parts_of_a_toy(simulator):
    n = 70_000
    given = {"beta": np.linspace(0, 1, n)} if isinstance(simulator, IsingRing) else None
    whole = simulator(n, given, rng=1)
    edges = (0, 3, 65_536, 65_543, n)
    parts = [
        part
        for a, b in itertools.pairwise(edges)
        for part in simulator.stream(n, given, rng=1, first_event=a, stop_event=b)
    ]
    same(pg.concatenate(parts), whole)


@pytest.mark.parametrize("beta", [0.4, "many"])
def test_parts_of_a_lattice_at_any_edge(beta):
    n = 40_000
    simulator = Ising2D(4, n_burn_in=3, spacing=1)
    given = {
        "beta": np.repeat([0.2, 0.3, 0.5], [9000, 20_000, 11_000]) if beta == "many" else beta
    }
    assert simulator.chunk_size(given["beta"]) == 16_384
    whole = simulator(n, given, rng=1)
    parts = [
        part
        for a, b in itertools.pairwise((0, 10, 16_384, 20_000, n))
        for part in simulator.stream(n, given, rng=1, first_event=a, stop_event=b)
    ]
    same(pg.concatenate(parts), whole)
