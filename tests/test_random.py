"""Random numbers: the published vectors, the law of the draws, and what draws hang on."""

import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy import stats

import physgen as pg
from physgen.random import (
    GeneratorRandom,
    PhiloxRandom,
    as_generator,
    as_seed,
    philox,
    seeded_layers,
)


def words(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # kat_vectors of Random123, philox4x32 with 10 rounds
        ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (
            "ffffffff ffffffff ffffffff ffffffff",
            "ffffffff ffffffff",
            "408f276d 41c83b0e a20bc7c6 6d5451fd",
        ),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_known_answers(counter, key, expected):
    # three equal columns: the words of a counter do not hang on its neighbors
    column = torch.tensor(words(counter))[:, None].expand(4, 3)
    assert philox(column, tuple(words(key))).T.tolist() == [words(expected)] * 3


def test_the_words_of_a_draw_are_those_of_its_counter():
    """Event, block and stream stand in the counter and the seed in the key, low words first."""
    event, seed, stream = (5 << 32) + 17, (9 << 32) + 3, 4
    rng = PhiloxRandom(seed, torch.tensor([event]), stream=stream)
    rng.uniform(1, 7)  # two blocks of four words
    drawn = rng.uniform(1, 4)
    block = philox(torch.tensor([[17], [5], [2], [stream]]), (3, 9))
    expected = ((block[:, 0] >> 9) + 0.5) * 2.0**-23
    assert (drawn[0].double() == expected.double()).all()


def pinned(seed, events, *, compiled, stream=0):
    """A generator whose numbers are all made by numba, or all by torch."""
    rng = PhiloxRandom(seed, events, stream=stream)
    rng._is_compiled = lambda _: compiled
    return rng


# no event, no number, no whole block, no whole set of lanes, several sets
SHAPES = [
    (0, 3),
    (5, 0),
    (1,),
    (1, 1),
    (7, 9),
    (33, 5),
    (100, 2, 5),
    (31, 4),
    (1000, 3),
    (64, 512),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("seed", "stream"), [(0, 0), (-1, 1), (2**63 + 5, 2), (2**32, 2**32 - 1), (12345, 7)]
)
def test_numba_and_torch_make_the_same_numbers(shape, seed, stream):
    events = torch.randint(1 << 62, shape[:1], generator=torch.Generator().manual_seed(1))
    events[: shape[0] // 2] %= 1000
    runs = [pinned(seed, events, stream=stream, compiled=c) for c in (False, True)]
    for kind in ("uniform", "normal", "uniform", "normal"):
        by_torch, by_numba = (getattr(rng, kind)(*shape) for rng in runs)
        assert by_torch.dtype == by_numba.dtype == torch.float32
        assert by_torch.is_contiguous()
        assert by_numba.is_contiguous()
        assert torch.equal(by_torch, by_numba)


def test_numba_takes_events_of_any_stride():
    events = torch.arange(400)[::4]
    drawn = [pinned(1, each, compiled=True).uniform(100, 3) for each in (events, events.clone())]
    assert torch.equal(*drawn)


@pytest.mark.parametrize("wrong", ["seed", "stream", "event", "block"])
def test_a_wrong_counter_is_noticed(wrong):
    """Control: a change of one of the four in its top bit changes every number."""
    events = torch.arange(100)
    rng = pinned(3, events, compiled=True)
    other = pinned(
        3 + (1 << 63) * (wrong == "seed"),
        events + (1 << 62) * (wrong == "event"),
        stream=(1 << 31) * (wrong == "stream"),
        compiled=False,
    )
    if wrong == "block":
        other.uniform(100, 1)
    assert (rng.uniform(100, 8) != other.uniform(100, 8)).float().mean() > 0.99


def test_threads_draw_what_one_draws():
    def draw(first):
        return pinned(5, torch.arange(first, first + 500), compiled=True).uniform(500, 64)

    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(draw, range(0, 4000, 500)))
    assert torch.equal(
        torch.cat(parts), pinned(5, torch.arange(4000), compiled=False).uniform(4000, 64)
    )


WHEN_NUMBA = """
import sys, torch
from physgen.random import PhiloxRandom
rng = PhiloxRandom(1, torch.arange({n}))
for _ in range({repeats}):
    rng.uniform({n}, 64)
print("numba" in sys.modules)
"""


@pytest.mark.parametrize(("n", "repeats", "loaded"), [(1000, 20, False), (20_000, 15, True)])
def test_numba_is_imported_where_it_pays(n, repeats, loaded):
    code = WHEN_NUMBA.format(n=n, repeats=repeats)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == [str(loaded)]


N = 200_000


@pytest.fixture(scope="module")
def draws():
    """Two draws of each kind for 200,000 events."""
    rng = PhiloxRandom(12, torch.arange(N))
    return {"uniform": rng.uniform(N, 2), "normal": rng.normal(N, 2)}


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_law_of_philox(draws, kind):
    x = draws[kind].double().numpy()
    law = {"uniform": stats.uniform, "normal": stats.norm}[kind]
    for k in (0, 1):
        assert stats.kstest(x[:, k], law.cdf).pvalue > 1e-3
        mean, variance, _, excess = map(float, law.stats(moments="mvsk"))
        assert abs(x[:, k].mean() - mean) < 4 * np.sqrt(variance / N)
        spread = variance * np.sqrt((excess + 2) / N)
        assert abs(x[:, k].var() - variance) < 4 * spread


def test_law_of_the_generator():
    rng = GeneratorRandom(as_generator(5))
    for x, law in ((rng.uniform(N), stats.uniform), (rng.normal(N), stats.norm)):
        assert stats.kstest(x.numpy(), law.cdf).pvalue > 1e-3
        assert x.dtype == torch.float32


def test_a_wrong_law_is_noticed(draws):
    """Control: the same test refuses a width that is off by two percent."""
    assert stats.kstest(1.02 * draws["normal"][:, 0].numpy(), stats.norm.cdf).pvalue < 1e-3


def test_draws_are_independent(draws):
    """Correlations between draws of an event, and between neighboring events, of x and x^2."""
    for x in draws.values():
        columns = torch.cat((x, x**2), dim=1).double().numpy()
        within = [(columns[:, a], columns[:, b]) for a, b in ((0, 1), (2, 3), (0, 3), (2, 1))]
        between = [(c[:-1], c[1:]) for c in columns.T]
        for a, b in within + between:
            assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(N)


def test_streams_and_seeds_are_independent():
    events = torch.arange(20_000)
    runs = [PhiloxRandom(7, events), PhiloxRandom(7, events, stream=1), PhiloxRandom(8, events)]
    for a, b in itertools.combinations([r.normal(20_000).numpy() for r in runs], 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(20_000)


def test_the_open_interval():
    """The extreme words give numbers inside (0, 1) and a finite normal."""

    class Extreme(PhiloxRandom):
        def _is_compiled(self, n_blocks):
            return False

        def _words(self, first, n_blocks):
            return torch.tensor([[0, 0, 2**32 - 1, 2**32 - 1]])

    rng = Extreme(0, torch.arange(1))
    u = rng.uniform(1, 4)
    assert (u > 0).all()
    assert (u < 1).all()
    z = rng.normal(1, 4)
    assert torch.isfinite(z).all()
    assert z.abs().max() < 6.8


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("event", "extreme"), [(5_617_470, 2.0**-24), (2_330_056, 1 - 2.0**-24)])
def test_the_ends_of_the_open_interval_are_reached(event, extreme, compiled):
    """Events of seed 0 found by search: a word of their first block has 23 bits all 0 or 1."""
    u = pinned(0, torch.tensor([event]), compiled=compiled).uniform(1, 4)
    assert extreme in u


def test_the_generator_stays_in_the_open_interval():
    u = GeneratorRandom(as_generator(0)).uniform(1 << 20)
    assert u.min() >= 2.0**-24
    assert u.max() <= 1 - 2.0**-24


@pytest.mark.parametrize("kind", ["uniform", "normal"])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 5)])
def test_draws_hang_on_seed_event_and_draw_alone(kind, shape):
    def two_draws(events):
        rng = PhiloxRandom(7, events)
        return [getattr(rng, kind)(len(events), *shape) for _ in range(2)]

    whole = two_draws(torch.arange(1000))
    assert whole[0].shape == (1000, *shape)
    assert not torch.equal(*whole)
    for rows in (torch.arange(300, 1000), torch.tensor([999, 0, 17, 17])):
        for part, full in zip(two_draws(rows), whole, strict=True):
            assert torch.equal(part, full[rows])


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**32 + 1, 2**63 + 11, -1, -(2**32)])
def test_seeds_use_all_64_bits(seed):
    def first(seed):
        return PhiloxRandom(seed, torch.arange(4)).uniform(4, 4)

    others = {0, 1, 2**32, 2**32 + 1, 2**63 + 11, -1, -(2**32)} - {seed}
    assert all(not torch.equal(first(seed), first(other)) for other in others)
    assert torch.equal(first(seed), first(seed + 2**64))


def test_events_beyond_32_bits_differ():
    a, b = (PhiloxRandom(1, torch.tensor([n])).uniform(1, 4) for n in (3, 3 + 2**32))
    assert not torch.equal(a, b)


def test_the_first_axis_is_the_events():
    rng = PhiloxRandom(1, torch.arange(5))
    for shape in ((4,), (), (3, 5)):
        with pytest.raises(ValueError, match="first axis must be the events"):
            rng.uniform(*shape)


def test_a_generator_gives_a_seed_and_moves_on():
    generator = torch.Generator().manual_seed(3)
    assert as_seed(generator) != as_seed(generator)
    assert as_seed(-5) == 2**64 - 5
    for wrong in (None, 1.0, True, "1"):
        with pytest.raises(TypeError, match=f"got {type(wrong).__name__}"):
            as_seed(wrong)


@pytest.mark.parametrize("seed", [np.int64(3), np.uint8(3), 2**64 + 3, 3 - 2**64])
def test_seeds_of_numpy_and_of_any_size_are_taken_modulo_64_bits(seed):
    assert as_seed(seed) == 3
    assert torch.equal(
        torch.rand(3, generator=as_generator(seed)), torch.rand(3, generator=as_generator(3))
    )


def test_the_largest_seed_serves_everywhere():
    x = np.random.default_rng(0).normal(size=100)
    events = pg.Events.from_dict({"x": x, "y": x**2})
    train, test = events.split(0.5, rng=-1)
    surrogate = pg.Surrogate.fit(train, pg.Diffusion(n_hidden=8, n_blocks=1), steps=2, rng=-1)
    report = pg.compare(test, surrogate(50, rng=-1), rng=-1)
    assert report.settings["seed"] == 2**64 - 1


def test_as_generator_is_seeded_and_new():
    a, b = as_generator(4), as_generator(4)
    assert torch.equal(torch.rand(3, generator=a), torch.rand(3, generator=b))
    assert not torch.equal(torch.rand(3, generator=a), torch.rand(3, generator=as_generator(5)))


def test_seeded_layers_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    with seeded_layers(1):
        one = torch.nn.Linear(3, 3).weight
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(1)
    with seeded_layers(1):
        again = torch.nn.Linear(3, 3).weight
    with seeded_layers(2):
        other = torch.nn.Linear(3, 3).weight
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
