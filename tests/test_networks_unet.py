"""U-Nets: shapes, symmetries, padding, what is refused."""

import math

import pytest
import torch
from torch import nn

from physgen.networks.unet import UNet, wrapped
from physgen.random import seeded_layers
from physgen.tensor_spec import Rows, TensorSpec

SHAPES = {
    "ring": ((7,), (True,)),
    "lattice": ((16, 16), (True, True)),
    "odd lattice": ((9, 9), (True, True)),
    "image": ((28, 28), (False, False)),
    "row": ((1, 5), (True, False)),
    "shower": ((12, 8, 6), (False, True, False)),
    "large shower": ((45, 16, 9), (False, True, False)),
}
every_shape = pytest.mark.parametrize(("shape", "periodic"), SHAPES.values(), ids=SHAPES)


def network(settings, shape, periodic, *, awake=True, **build):
    """A network of three conditions; awake means that its last layer is not zero."""
    spec = TensorSpec(n_features=math.prod(shape), shape=shape, periodic=periodic)
    with seeded_layers(1):
        made = settings.build(spec, 3, **build)
        if awake:
            nn.init.normal_(made.last.weight)
    return made.eval()


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@every_shape
def test_any_sides_in_and_out(shape, periodic):
    n = math.prod(shape)
    made = network(UNet(n_channels=8, n_blocks=1, attention=True), shape, periodic)
    y = made(normal(2, n), normal(2, 3), normal(2, 1))
    assert y.shape == (2, n)
    assert torch.isfinite(y).all()
    assert y.std() > 0


def test_levels_end_at_a_single_site():
    assert network(UNet(n_levels=9), (5, 2), (True, False)).sides == [
        (5, 2),
        (3, 1),
        (2, 1),
        (1, 1),
    ]


@pytest.mark.parametrize("odd", [False, True])
def test_an_untrained_network_is_zero(odd):
    made = network(UNet(n_channels=8), (6,), (True,), awake=False, n_inputs=2, odd=odd)
    assert (made(normal(3, 12), normal(3, 3)) == 0).all()


def translated(x, shape, by):
    return x.view(-1, *shape).roll(by, tuple(range(1, 1 + len(shape)))).flatten(1)


@pytest.mark.parametrize(("levels", "by"), [(1, (1, 5)), (1, (3, 0)), (2, (2, 4)), (3, (4, 8))])
def test_translations_along_periodic_axes_commute(levels, by):
    made = network(UNet(n_channels=8, n_levels=levels), (8, 16), (True, True)).double()
    x, context = normal(2, 128, dtype=torch.float64), normal(2, 3, dtype=torch.float64)
    moved = made(translated(x, (8, 16), by), context)
    assert torch.allclose(moved, translated(made(x, context), (8, 16), by), atol=1e-10)


def test_the_translation_test_knows_axes_with_ends_and_coarse_levels():
    x, context = normal(2, 128), normal(2, 3)
    for levels, periodic, by in ((1, (False, True), (1, 0)), (3, (True, True), (1, 0))):
        made = network(UNet(n_channels=8, n_levels=levels), (8, 16), periodic)
        difference = made(translated(x, (8, 16), by), context) - translated(
            made(x, context), (8, 16), by
        )
        assert difference.abs().max() > 1e-3
    # the other axis is periodic in the first case
    made = network(UNet(n_channels=8, n_levels=1), (8, 16), (False, True))
    along = made(translated(x, (8, 16), (0, 3)), context)
    assert torch.allclose(along, translated(made(x, context), (8, 16), (0, 3)), atol=1e-5)


def test_ends_meet_only_where_they_are_periodic():
    """The response to one site: across the border of a periodic axis, and not of the other."""
    made = network(UNet(n_channels=8, n_levels=1, n_blocks=1), (16, 16), (True, False)).double()
    x = torch.zeros(1, 16, 16, dtype=torch.float64, requires_grad=True)
    context = normal(1, 3, dtype=torch.float64)
    # the normalization joins all sites weakly: take the response of what is far away off
    y = made(x.flatten(1), context).view(16, 16)
    (slope,) = torch.autograd.grad(y[0, 0], x)
    far = slope[0, 8, 8].abs()
    assert slope[0, 15, 0].abs() > 30 * far
    assert slope[0, 0, 15].abs() < 3 * far


@pytest.mark.parametrize("shape", [(7,), (8, 6), (4, 3, 2)])
def test_an_odd_network_is_exactly_odd(shape):
    n = math.prod(shape)
    periodic = (True,) * len(shape)
    made = network(UNet(n_channels=16, attention=True), shape, periodic, n_inputs=2, odd=True)
    even, odd, context = normal(4, n), normal(4, n, seed=1), normal(4, 3)
    y = made(torch.cat((even, odd), 1), context)
    assert y.abs().mean() > 0.01
    assert torch.equal(made(torch.cat((even, -odd), 1), context), -y)
    # it is even in nothing: the first array matters, and its sign, too
    assert not torch.allclose(made(torch.cat((-even, odd), 1), context), y, atol=1e-3)
    plain = network(UNet(n_channels=16), shape, periodic, n_inputs=2)
    both = plain(torch.cat((even, odd), 1), context) + plain(torch.cat((even, -odd), 1), context)
    assert both.abs().max() > 1e-3


@pytest.mark.parametrize("odd", [False, True])
def test_zeros_do_not_blow_up_the_gradient(odd):
    """An array of zeros has nothing that could be normalized."""
    made = network(UNet(), (16, 16), (True, True), n_inputs=2, odd=odd)
    x = torch.zeros(2, 512, requires_grad=True)
    made(x, torch.zeros(2, 3)).sum().backward()
    gradients = [p.grad for p in made.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() and g.abs().max() < 1e4 for g in [*gradients, x.grad])


def test_the_context_and_every_parameter_matter():
    made = network(UNet(n_channels=8, attention=True), (8, 8), (True, False))
    x = normal(4, 64)
    assert not torch.allclose(made(x, normal(4, 3)), made(x, normal(4, 3, seed=1)), atol=1e-3)
    made(x, normal(4, 3)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in made.parameters())


def test_events_do_not_see_one_another():
    made = network(UNet(n_channels=8, attention=True), (8, 8), (True, False))
    x, context = normal(4, 64), normal(4, 3)
    alone = made(x[1:2], context[1:2])
    assert torch.allclose(made(x, context)[1:2], alone, atol=1e-5)


def test_the_type_of_x_is_kept():
    made = network(UNet(n_channels=8), (8, 8), (True, False)).double()
    assert made(normal(1, 64).double(), normal(1, 3).double()).dtype == torch.float64


def test_it_can_be_exported():
    made = network(UNet(n_channels=8, attention=True), (5, 4), (True, False))
    example = (normal(3, 20), normal(3, 3))
    batch = torch.export.Dim("n_events", min=1, max=1 << 31)
    program = torch.export.export(made, example, dynamic_shapes=({0: batch}, {0: batch}))
    x, context = normal(6, 20), normal(6, 3)
    assert torch.allclose(program.module()(x, context), made(x, context), atol=1e-5)


@pytest.mark.parametrize(
    ("side", "width", "wanted"),
    [
        (3, 1, [2, 0, 1, 2, 0]),
        (1, 2, [0] * 5),
        (2, 2, [0, 1, 0, 1, 0, 1]),
        (2, 3, [1, 0, 1, 0, 1, 0, 1, 0]),
    ],
)
def test_wrapped(side, width, wanted):
    h = torch.arange(side).view(1, 1, side)
    assert wrapped(h, (True,), width).flatten().tolist() == wanted
    assert wrapped(h, (False,), width) is h


def test_it_learns_a_law_of_neighbors():
    """The product of two neighbors on a ring, which needs the border to meet."""
    made = network(UNet(n_channels=16, n_levels=1, n_blocks=1), (8,), (True,), awake=False)
    adam = torch.optim.Adam(made.parameters(), lr=1e-2)
    context = torch.zeros(256, 3)
    for step in range(150):
        x = normal(256, 8, seed=step).sign()
        loss = (made(x, context) - x.roll(1, 1) * x).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss < 0.1


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"one array of one to three axes.*Perceptron"):
        UNet().build(TensorSpec(n_features=4), 3)
    rows = TensorSpec(n_features=6, n_conditions=1, shape=(3, 2), rows=Rows(0, 1.0, 1.0))
    with pytest.raises(ValueError, match="set of rows"):
        UNet().build(rows, 3)
    with pytest.raises(ValueError, match="even and an odd input"):
        UNet().build(TensorSpec(n_features=4, shape=(4,)), 3, odd=True)
    for wrong in ({"n_channels": 7}, {"kernel_size": 2}):
        with pytest.raises(ValueError, match="n_channels is even and kernel_size odd"):
            UNet(**wrong)
    with pytest.raises(ValueError, match="n_levels must be positive"):
        UNet(n_levels=0)
