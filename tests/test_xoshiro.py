"""The generators are the published ones, and their biased bits have the probability asked for."""

import numpy as np
import pytest
from numba import njit

from physgen.simulators.xoshiro import bernoulli_word, next_u64, seed_states, thresholds


@njit
def bernoulli_words(state, threshold, n):
    words = np.empty(n, np.uint64)
    for i in range(n):
        words[i] = bernoulli_word(state, threshold)
    return words


def bits_of(words):
    return np.unpackbits(words.view(np.uint8), bitorder="little").reshape(-1, 64)


def pull(count, n, p):
    return (count - n * p) / np.sqrt(n * p * (1 - p))


def test_xoshiro_is_the_published_one():
    # output of the C code of Blackman and Vigna for this state
    state = np.array([1, 2, 3, 4], dtype=np.uint64)
    assert [int(next_u64(state)) for _ in range(10)] == [
        41943041, 58720359, 3588806011781223, 3591011842654386, 9228616714210784205,
        9973669472204895162, 14011001112246962877, 12406186145184390807, 15849039046786891736,
        10450023813501588000,
    ]  # fmt: skip


def test_splitmix_is_the_published_one():
    # output of the C code of Vigna for the seed 1234567
    assert seed_states(1234567, 0, 2).ravel()[:5].tolist() == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431,
        16408922859458223821,
    ]  # fmt: skip


def test_a_state_depends_on_seed_and_number_alone():
    states = seed_states(5, 0, 100)
    assert len(np.unique(states)) == 400
    np.testing.assert_array_equal(seed_states(5, 37, 4), states[37:41])
    np.testing.assert_array_equal(seed_states(5 + 2**64, 0, 100), states)
    np.testing.assert_array_equal(seed_states(np.int64(5), 0, 100), states)
    assert not np.isin(seed_states(6, 0, 100), states).any()
    assert seed_states(-1, 0, 0).shape == (0, 4)
    assert seed_states(1, 2**62, 1).shape == (1, 4)


@pytest.mark.parametrize(("first", "n"), [(-1, 1), (0, -1)])
def test_lattices_are_numbered_from_zero(first, n):
    with pytest.raises(ValueError, match="numbered from 0 upwards"):
        seed_states(1, first, n)


def test_thresholds():
    p = [0.0, 2.0**-60, 0.5, np.nextafter(1.0, 0.0), 1.0]
    assert thresholds(p).tolist() == [0, 16, 2**63, 2**64 - 2**11, 2**64 - 1]
    for wrong in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match=r"lies in \[0, 1\]"):
            thresholds([0.5, wrong])


@pytest.mark.parametrize("p", [0.01, 0.5, 1 - np.exp(-0.88), 0.999])
def test_biased_bits(p):
    bits = bits_of(bernoulli_words(seed_states(3, 0, 1)[0], thresholds(p)[()], 100_000))
    assert abs(pull(bits.sum(), bits.size, p)) < 4
    places = pull(bits.sum(axis=0), len(bits), p)
    assert np.abs(places).max() < 4.5
    assert abs((places**2).sum() - 64) / np.sqrt(128) < 4
    both = (bits[:, 1:] & bits[:, :-1]).sum() / bits[:, 1:].size
    assert abs(both - p**2) < 4 * p * (1 - p) / np.sqrt(bits.size) + 8 * p * np.sqrt(
        p * (1 - p) / bits.size
    )


def test_the_pull_sees_one_percent():
    bits = bits_of(bernoulli_words(seed_states(3, 0, 1)[0], thresholds(0.505)[()], 100_000))
    assert pull(bits.sum(), bits.size, 0.5) > 10


def test_certain_bits():
    state = seed_states(3, 0, 1)[0]
    assert not bernoulli_words(state, thresholds(0.0)[()], 1000).any()
    assert (bernoulli_words(state, thresholds(1.0)[()], 1000) == 2**64 - 1).all()
    # one digit decides: the bits are those of the generator
    again = state.copy()
    assert int(bernoulli_word(state, thresholds(0.5)[()])) == int(next_u64(again)) ^ (2**64 - 1)
