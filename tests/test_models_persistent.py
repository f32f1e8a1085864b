"""Chains that live as long as the training: who goes on from which, and where they are kept."""

import pytest
import torch

from physgen.models import TensorSpec
from physgen.models.persistent import PersistentChains
from physgen.random import GeneratorRandom, PhiloxRandom, seeded_layers

SPEC = TensorSpec(n_features=3, binary=(True, False, True))
GIVEN = TensorSpec(n_features=3, n_conditions=1)


def chains(spec, n_chains, **more):
    with seeded_layers(0):
        return PersistentChains(spec, n_chains, **more)


def noise(seed=0):
    return GeneratorRandom(torch.Generator().manual_seed(seed))


def numbered(kept):
    """Each chain holds its own number in all places."""
    kept.state.copy_(torch.arange(len(kept.state))[(...,) + (None,) * (kept.state.ndim - 1)])
    return kept


def test_chains_start_as_events_of_no_structure():
    spec = TensorSpec(
        n_features=6, binary=(True, False, True, True, True, True), one_hot=((2, 3),)
    )
    state = chains(spec, 4000, n_hidden=2).state
    assert state.shape == (4000, 8)
    assert (state[:, [0, 5]].abs() == 1).all()
    assert (state[:, 2:5].sum(1) == -1).all()
    assert state[:, :6].mean(0).abs().max() < 0.4
    assert state[:, 1].std() == pytest.approx(1, abs=0.1)
    assert (state[:, 6:] == 0).all()
    assert chains(SPEC, 5, n_rungs=4).state.shape == (5, 4, 3)


def test_those_that_waited_longest_go_on_and_return_to_their_places():
    kept = numbered(chains(SPEC, 10))
    nothing = torch.zeros(4, 0)
    seen = []
    for _ in range(5):
        state = kept.oldest(nothing, rng=noise())
        seen += (state[:, 0] % 100).tolist()
        kept.push(state + 100, nothing)
    assert seen == [*range(10), *range(10)]
    assert torch.equal(kept.state[:, 0], torch.arange(10) + 200.0)


def test_more_events_than_chains():
    kept = numbered(chains(SPEC, 3))
    state = kept.oldest(torch.zeros(8, 0), rng=noise())
    assert sorted(state[:, 0].tolist()) == [0, 0, 0, 1, 1, 1, 2, 2]
    kept.push(state, torch.zeros(8, 0))
    assert torch.equal(kept.state[:, 0], torch.arange(3.0))


def test_with_conditions_every_event_of_a_batch_has_its_own_chain():
    kept, c = chains(GIVEN, 3), torch.zeros(8, 1)
    with pytest.raises(ValueError, match=r"3 chains for 8 events; take n_chains=8 or more"):
        kept.oldest(c, rng=noise())
    # the loss of held-out events moves no chain
    assert kept.eval().oldest(c, rng=noise()).shape == (8, 3)


def test_an_event_goes_on_from_a_chain_of_nearly_its_condition():
    kept = numbered(chains(GIVEN, 200))
    first = torch.linspace(-1, 1, 200)[:, None]
    kept.push(kept.oldest(first, rng=noise()), first)
    numbered(kept)
    before = kept.condition.clone()
    c = 2 * torch.rand(50, 1, generator=torch.Generator().manual_seed(1)) - 1
    state = kept.oldest(c, rng=noise())
    taken = state[:, 0].long()
    assert len(taken.unique()) == 50
    assert (before[taken] - c).abs().mean() < 0.03
    assert (before[taken.roll(1)] - c).abs().mean() > 0.3
    kept.push(state + 1000, c)
    assert torch.equal(kept.condition[taken], c)
    rest = torch.ones(200, dtype=torch.bool).index_fill_(0, taken, False)
    assert torch.equal(kept.condition[rest], before[rest])
    assert torch.equal(kept.state[taken, 0], taken + 1000.0)
    assert (kept.state[rest] < 1000).all()


def test_every_chain_has_its_turn_under_one_condition():
    kept = chains(GIVEN, 40)
    moved = torch.zeros(40)
    rng = noise()
    for _ in range(60):
        c = torch.zeros(10, 1)
        numbered(kept)
        state = kept.oldest(c, rng=rng)
        moved[state[:, 0].long()] += 1
        kept.push(state, c)
    assert (moved > 0).all()


def test_a_sample_starts_from_chains_of_its_condition_without_hidden_units():
    kept = numbered(chains(GIVEN, 300, n_hidden=2))
    kept.condition.copy_(torch.linspace(-1, 1, 300)[:, None])
    c = torch.tensor([[-0.8], [0.8]]).repeat(100, 1)
    state = kept.draw(200, c, rng=PhiloxRandom(1, torch.arange(200)))
    assert state.shape == (200, 3)
    found = kept.condition[state[:, 0].long()]
    assert (found - c).abs().mean() < 0.15
    assert (found.flip(0) - c).abs().mean() > 1
    rows = PhiloxRandom(1, torch.arange(100, 200))
    assert torch.equal(kept.draw(100, c[100:], rng=rows), state[100:])


def test_the_last_rung_of_a_ladder_counts():
    kept = chains(SPEC, 4, n_rungs=3)
    kept.state.copy_(torch.arange(3)[None, :, None])
    state = kept.draw(6, torch.zeros(6, 0), rng=PhiloxRandom(1, torch.arange(6)))
    assert (state == 2).all()


@pytest.mark.parametrize("spec", [SPEC, GIVEN], ids=["free", "given"])
def test_restored_chains_go_on_as_the_others(spec):
    one = chains(spec, 20)
    c = torch.rand(8, spec.n_conditions, generator=torch.Generator().manual_seed(1))
    for seed in range(3):
        one.push(one.oldest(c, rng=noise(seed)) + 1, c)
    other = chains(spec, 20)
    other.load_state_dict(one.state_dict())
    for kept in (one, other):
        kept.push(kept.oldest(c + 0.1, rng=noise(9)) * 2, c)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_held_out_events_meet_chains_of_their_own_condition():
    kept = chains(GIVEN, 256)
    kept.condition.copy_(torch.where(torch.arange(256)[:, None] < 128, -1.0, 1.0))
    kept.state.copy_(kept.condition.expand(-1, 3))
    level = torch.where(torch.arange(1000)[:, None] % 3 == 0, -1.0, 1.0)
    assert torch.equal(kept.as_they_are(level, rng=noise()), level.expand(-1, 3))
    # in their turn they would not
    assert not torch.equal(kept.state[torch.arange(1000) % 256], level.expand(-1, 3))
