"""Set transformers: their symmetry, their padding, and what they can learn."""

import dataclasses

import pytest
import torch

from physgen.networks.set_transformer import SetTransformer
from physgen.random import seeded_layers
from physgen.tensor_spec import Rows, TensorSpec

N, N_MAX, WIDTH, CONTEXT = 6, 7, 3, 5
SPEC = TensorSpec(
    n_features=N_MAX * WIDTH, n_conditions=2, shape=(N_MAX, WIDTH), rows=Rows(1, 3.0, 1.0, N_MAX)
)
BOTH = pytest.mark.parametrize("attention", [False, True])


def make(attention=False, spec=SPEC, **settings):
    """A network whose zero layers are not zero, since nothing would be seen otherwise."""
    settings = {"n_hidden": 8, "n_blocks": 2, "n_heads": 2} | settings
    with seeded_layers(1):
        network = SetTransformer(attention=attention, **settings).build(spec, CONTEXT)
        for parameter in network.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.5)
    return network.double()


def inputs(counts=(0, 1, 3, 5, 7, 9), seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    condition = normal(len(counts), 2)
    condition[:, 1] = torch.tensor(counts, dtype=torch.float64) - 3.0
    return normal(len(counts), N_MAX * WIDTH), normal(len(counts), CONTEXT), condition


def rows_of(output):
    return output.view(-1, N_MAX, WIDTH)


@BOTH
def test_the_output_follows_a_permutation_of_the_rows(attention):
    network, (x, context, condition) = make(attention), inputs()
    output = rows_of(network(x, context, condition))
    for event, count in enumerate((0, 1, 3, 5, 7, 7)):
        order = torch.arange(N_MAX)
        order[:count] = torch.randperm(count, generator=torch.Generator().manual_seed(event))
        moved = rows_of(x)[:, order].flatten(1)
        again = rows_of(network(moved, context, condition))
        assert (again[event] - output[event, order]).abs().max() < 1e-12
    # negative control: rows beyond those that an event has are no rows
    moved = rows_of(x).flip(1).flatten(1)
    again = rows_of(network(moved, context, condition))
    assert (again[2].flip(0) - output[2]).abs().max() > 1e-3
    assert (again[4].flip(0) - output[4]).abs().max() < 1e-12


def test_rows_in_a_known_order_are_told_their_place():
    ordered = dataclasses.replace(SPEC, rows=dataclasses.replace(SPEC.rows, ordered=True))
    x, context, condition = inputs((7, 7))
    turned = rows_of(x).flip(1).flatten(1)
    for settings, follows in (({}, False), ({"ordered": False}, True)):
        network = make(spec=ordered, **settings)
        output = rows_of(network(x, context, condition)).flip(1).flatten(1)
        assert ((network(turned, context, condition) - output).abs().max() < 1e-12) == follows


@BOTH
@pytest.mark.parametrize("filling", [0.0, 1e3, float("nan")])
def test_padding_neither_counts_nor_has_an_output(attention, filling):
    network, (x, context, condition) = make(attention), inputs()
    mask = SPEC.mask(condition) > 0
    output = network(x, context, condition)
    assert (output[~mask] == 0).all()
    assert (output[mask] != 0).all()
    again = network(torch.where(mask, x, filling), context, condition)
    assert torch.equal(again, output)


@BOTH
def test_rows_know_of_each_other_the_context_and_their_number(attention):
    network, (x, context, condition) = make(attention), inputs((5, 5))
    output = network(x, context, condition)
    moved = x.clone()
    moved[:, 0] += 1
    assert (network(moved, context, condition) - output)[:, 3:15].abs().min() > 1e-6
    assert (network(x, context + 1, condition) - output)[:, :15].abs().min() > 1e-6
    fewer = condition - torch.tensor([0.0, 1.0])
    assert (network(x, context, fewer) - output)[:, :12].abs().min() > 1e-6


@BOTH
def test_events_do_not_see_each_other(attention):
    network, (x, context, condition) = make(attention), inputs()
    alone = torch.cat(
        [network(x[i : i + 1], context[i : i + 1], condition[i : i + 1]) for i in range(N)]
    )
    assert (alone - network(x, context, condition)).abs().max() < 1e-12


@BOTH
def test_gradients_are_finite_without_rows_and_reach_all_parameters(attention):
    network, (x, context, condition) = make(attention), inputs()
    x.requires_grad_(True)
    network(x, context, condition).square().sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad[0] == 0).all()
    for name, parameter in network.named_parameters():
        # the update of g behind the last rows is still read by the last modulation
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


@BOTH
def test_an_untrained_network_returns_zero_in_the_type_of_its_input(attention):
    with seeded_layers(0):
        network = SetTransformer(attention=attention).build(SPEC, CONTEXT)
    x, context, condition = (part.float() for part in inputs())
    output = network(x, context, condition)
    assert output.dtype == torch.float32
    assert not output.any()


@BOTH
def test_export(attention):
    network, given = make(attention), inputs()
    batch = torch.export.Dim("batch", min=2, max=1024)
    exported = torch.export.export(network, given, dynamic_shapes=({0: batch},) * 3).module()
    other = inputs((4, 0, 7), seed=5)
    assert (exported(*other) - network(*other)).abs().max() < 1e-12


def test_one_length_for_all_events():
    spec = TensorSpec(n_features=8, shape=(4, 2), rows=Rows(0, 4.0, 0.0))
    network = make(spec=spec)
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    output = network(x, torch.zeros(3, CONTEXT).double(), torch.zeros(3, 0).double())
    assert (output != 0).all()


def test_what_is_no_set_is_refused():
    with pytest.raises(ValueError, match=r"rows of a set, .* shape \(12, 8\) with rows=None"):
        SetTransformer().build(TensorSpec(n_features=96, shape=(12, 8)), CONTEXT)
    with pytest.raises(ValueError, match="n_hidden is a multiple of n_heads"):
        SetTransformer(n_hidden=10, n_heads=4)
    with pytest.raises(ValueError, match="n_blocks"):
        SetTransformer(n_blocks=0)


@BOTH
def test_it_learns_what_needs_all_rows(attention):
    """The sum of five rows: from one of them alone its variance of 5 can be lowered to 4."""
    generator = torch.Generator().manual_seed(3)
    with seeded_layers(2):
        network = SetTransformer(n_hidden=16, n_blocks=2, attention=attention).build(SPEC, CONTEXT)
    adam = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(80):
        x = torch.randn(64, N_MAX, WIDTH, generator=generator)
        condition = torch.full((64, 2), 2.0)
        target = x[:, :5, 0].sum(dim=1, keepdim=True).expand(-1, 5)
        output = network(x.flatten(1), torch.zeros(64, CONTEXT), condition).view_as(x)[:, :5, 0]
        loss = (output - target).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[0] > 3
    assert sum(losses[-10:]) / 10 < 1
