"""The training loop: budgets, seeds, schedule, weights, rescue and the average of the weights."""

import itertools
import json
import logging
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from physgen.training import (
    History,
    TrainingConfig,
    TrainingError,
    seconds,
    threads,
    train,
)
from physgen.training import loop as loop_module
from physgen.training.average import Average, power_of_width


class Constant(nn.Module):
    """Learns the weighted mean of x by least squares; remembers what it was shown."""

    def __init__(self, rate=0.05, start=0.0):
        super().__init__()
        self.value = nn.Parameter(torch.tensor([start]))
        self.seen = nn.Buffer(torch.zeros(()))
        self.rate = rate
        self.batches, self.rates, self.held_out = [], [], []

    def players(self):
        self.optimizer = torch.optim.SGD(self.parameters(), lr=self.rate)
        return {"model": self.optimizer}

    def loss(self, x, condition, *, player, rng):
        (self.batches if self.training else self.held_out).append(x[:, 0].clone())
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        self.seen += 1
        return (x[:, 0] - self.value).square()


class Line(nn.Module):
    """A user's own module: least squares of a line, one number as loss, no players."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(1, 1)

    def loss(self, x, condition, *, player, rng):
        return (self.net(condition) - x).square().mean()


def config(**changes):
    plain = {"warmup_steps": 0, "decay": 0.0, "averaging": 0.0, "validation_fraction": 0.0}
    return TrainingConfig(**{"steps": 100, "batch_size": 64, **plain, **changes})


def column(n=256, seed=0):
    return torch.randn(n, 1, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by ``clock.tick`` seconds at every step of the training."""
    fake = SimpleNamespace(now=0.0, tick=0.01)
    monkeypatch.setattr(loop_module, "time", SimpleNamespace(monotonic=lambda: fake.now))
    step = loop_module.Loop._one_step

    def timed(self):
        step(self)
        fake.now += fake.tick

    monkeypatch.setattr(loop_module.Loop, "_one_step", timed)
    return fake


# ---------------------------------------------------------------- learning


def test_a_line_is_learned_by_a_users_own_module():
    t = torch.linspace(-1, 1, 500)[:, None]
    model = Line()
    for p in model.parameters():
        nn.init.zeros_(p)
    train(model, 0.4 * t - 0.3, t, config=config(steps=800), rng=0)
    assert model.net.weight.item() == pytest.approx(0.4, abs=0.02)
    assert model.net.bias.item() == pytest.approx(-0.3, abs=0.02)
    assert not model.training


def test_every_event_once_per_epoch():
    x = torch.arange(200.0)[:, None]
    model = Constant(rate=0.0)
    history = train(model, x, config=config(steps=None, epochs=3, batch_size=50), rng=0)
    epochs = torch.cat(model.batches).reshape(3, 200)
    assert (epochs.sort(dim=1).values == x[:, 0]).all()
    assert not torch.equal(epochs[0], epochs[1])
    assert history.n_events_seen == 600


def test_held_out_events_never_enter_a_batch():
    x = torch.arange(200.0)[:, None]
    model = Constant(rate=0.0)
    setting = config(steps=None, epochs=4, batch_size=16, validation_fraction=0.25)
    history = train(model, x, config=setting, rng=0)
    trained, held_out = set(torch.cat(model.batches).tolist()), torch.cat(model.held_out).tolist()
    assert len(set(held_out)) == 50
    assert not trained & set(held_out)
    assert history.validation["model"][-1] == pytest.approx(np.square(held_out[:50]).mean())


def test_validation_touches_no_buffer_and_no_draw():
    def trained(fraction):
        model = Constant()
        # the first 192 rows of the permutation differ, so compare what must not depend on them
        train(model, column(), config=config(validation_fraction=fraction, steps=50), rng=0)
        return model.seen.item()

    assert trained(0.25) == trained(0.0) == 50


# ---------------------------------------------------------------- budgets


@pytest.mark.parametrize(
    ("budget", "n_steps"), [({"steps": 37}, 37), ({"epochs": 2}, 8), ({"epochs": 0.5}, 2)]
)
def test_exact_number_of_steps(budget, n_steps):
    model = Constant()
    setting = config(**{"steps": None, **budget})
    history = train(model, column(), config=setting, rng=0)
    assert len(model.batches) == n_steps
    assert history.steps[-1] == n_steps


def test_a_budget_in_seconds_is_kept(clock):
    model = Constant()
    history = train(model, column(), config=config(steps=None, budget="2s"), rng=0)
    assert len(model.batches) == pytest.approx(200, abs=1)
    assert clock.now == pytest.approx(2.0, abs=0.011)
    assert history.seconds[-1] == pytest.approx(2.0, abs=0.011)
    # logs once a second, and at the end
    assert history.steps == pytest.approx([100, 200], abs=1)


def test_a_budget_shorter_than_a_step_makes_one_step(clock):
    clock.tick = 100.0
    assert train(Constant(), column(), config=config(steps=None, budget=1), rng=0).steps == [1]


@pytest.mark.parametrize(
    ("text", "number"),
    [(90, 90), (0.5, 0.5), ("90", 90), ("90s", 90), ("10 sec", 10), (" 1.5m ", 90), (".5h", 1800)],
)
def test_budget_strings(text, number):
    assert seconds(text) == number


@pytest.mark.parametrize("text", ["", "soon", "5 days", "-3s", "1e3s", "5mm"])
def test_budget_strings_that_are_refused(text):
    with pytest.raises(ValueError, match=r"cannot read the budget .* write for example '90s'"):
        seconds(text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 1, "epochs": 2}, "give one budget.*got epochs and steps"),
        ({"steps": 0}, "steps must be positive and finite, got 0"),
        ({"steps": 1.5}, "steps must be an integer, got 1.5"),
        ({"epochs": -1}, "epochs must be positive and finite, got -1"),
        ({"budget": "0s"}, "budget must be positive and finite, got '0s'"),
        ({"budget": float("nan")}, "budget must be positive and finite, got nan"),
        ({"budget": float("inf")}, "budget must be positive and finite, got inf"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"validation_fraction": 1.0}, r"validation_fraction must be in \[0, 1\), got 1"),
        ({"decay": 1.5}, r"decay must be in \[0, 1\], got 1.5"),
        ({"averaging": 0.5}, r"averaging must be in \[0, 0.288\], got 0.5"),
        ({"warmup_steps": -1}, "warmup_steps must be at least 0, got -1"),
        ({"gradient_clip": float("nan")}, "gradient_clip must be at least 0, got nan"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**settings)


def test_a_number_of_steps_in_words_is_refused():
    with pytest.raises(TypeError, match="steps must be a number, got '5'"):
        TrainingConfig(steps="5")


def test_no_budget_at_all():
    with pytest.raises(ValueError, match="say how long to train"):
        train(Constant(), column(), config=TrainingConfig(), rng=0)


# ---------------------------------------------------------------- seeds and schedule


def test_the_seed_decides_every_bit():
    def weights(rng):
        model = Constant()
        train(model, column(), config=config(averaging=0.05, validation_fraction=0.1), rng=rng)
        return model.value.item()

    assert weights(3) == weights(3) == weights(3)
    assert weights(3) != weights(4)
    assert weights(torch.Generator().manual_seed(1)) == weights(torch.Generator().manual_seed(1))


def test_training_leaves_the_global_generator_and_the_threads_alone():
    state, before = torch.get_rng_state(), torch.get_num_threads()
    train(Constant(), column(), config=config(steps=3, n_threads=2), rng=0)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.get_num_threads() == before
    with pytest.raises(KeyError), threads(2):
        raise KeyError
    assert torch.get_num_threads() == before


def test_warm_up_and_decay():
    model = Constant(rate=0.01)
    train(model, column(), config=config(steps=100, warmup_steps=10, decay=0.5), rng=0)
    factors = np.array(model.rates) / 0.01
    assert factors[:10] == pytest.approx(np.arange(1, 11) / 11)
    assert factors[10:51] == pytest.approx(np.ones(41))
    done = np.arange(51, 100) / 50 - 1
    assert factors[51:] == pytest.approx(0.5 * (1 + np.cos(np.pi * done)))


def test_warm_up_takes_at_most_a_tenth_of_the_steps():
    model = Constant(rate=0.01)
    train(model, column(), config=config(steps=50, warmup_steps=1000), rng=0)
    assert np.array(model.rates[:6]) / 0.01 == pytest.approx(
        [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1]
    )


@pytest.mark.usefixtures("clock")
def test_the_schedule_of_a_time_budget_follows_the_clock():
    model = Constant(rate=0.01)
    train(model, column(), config=config(steps=None, budget=2, decay=1.0), rng=0)
    assert model.rates[100] / 0.01 == pytest.approx(0.5, abs=0.02)
    assert model.rates[-1] / 0.01 < 0.001


@pytest.mark.parametrize(("clip", "moved"), [(1.0, 0.1), (0.0, 0.1 * 2e3)])
def test_gradient_clip(clip, moved):
    model = Constant(rate=0.1)
    train(model, torch.full((64, 1), 1e3), config=config(steps=1, gradient_clip=clip), rng=0)
    assert model.value.item() == pytest.approx(moved, rel=1e-4)


def test_gradients_are_clipped_in_the_unit_of_the_model():
    model = Constant(rate=0.1)
    model.gradient_scale = 5.0
    train(model, torch.full((64, 1), 1e3), config=config(steps=1), rng=0)
    assert model.value.item() == pytest.approx(0.5, rel=1e-4)


def test_each_player_moves_its_own_parameters():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

        def players(self):
            return {n: torch.optim.SGD([getattr(self, n)], lr=0.1) for n in "ab"}

        def loss(self, x, condition, *, player, rng):
            # a falls to lower a + b, b rises to raise it
            return (self.a + self.b) * (1 if player == "a" else -1) + 0 * x[:, 0]

    model = Two()
    history = train(model, column(), config=config(steps=5), rng=0)
    assert model.a.item() == pytest.approx(-0.5)
    assert model.b.item() == pytest.approx(0.5)
    assert list(history.losses) == ["a", "b"]


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize(
    "weight", [[1, 2, 3, 4] * 64, [5, -1, 3, -2] * 64, [0, 0, 1, 0] * 64, [1e6] * 256]
)
def test_weights_count_like_repeated_events(weight):
    """The constant of least squares is the weighted mean, whatever the signs and the scale."""
    x, w = column(), torch.tensor(weight, dtype=torch.float64)
    model = Constant(rate=0.02)
    setting = config(batch_size=256, steps=400, gradient_clip=0.0)
    train(model, x, weight=w, config=setting, rng=0)
    assert model.value.item() == pytest.approx(float((w * x[:, 0]).sum() / w.sum()), abs=1e-4)


def test_weights_that_cancel_are_refused():
    for w in (torch.zeros(256), torch.tensor([1.0, -1.0] * 128), torch.tensor([-1.0] * 256)):
        with pytest.raises(ValueError, match="event weights add up to"):
            train(Constant(), column(), weight=w, config=config(), rng=0)


def test_a_loss_of_one_number_cannot_be_weighted():
    with pytest.raises(TrainingError, match=r"Line\.loss returned one number.*one loss per event"):
        train(Line(), column(), column(), weight=torch.ones(256), config=config(), rng=0)


# ---------------------------------------------------------------- rescue


class Fragile(Constant):
    """Its loss is NaN in the calls for which ``breaks`` says so."""

    def __init__(self, breaks):
        super().__init__()
        self.breaks = breaks
        self.n_calls = itertools.count(1)

    def players(self):
        self.optimizer = torch.optim.Adam(self.parameters(), lr=self.rate)
        return {"model": self.optimizer}

    def loss(self, x, condition, *, player, rng):
        loss = super().loss(x, condition, player=player, rng=rng)
        return loss * torch.nan if self.breaks(next(self.n_calls)) else loss


def test_one_nan_is_rescued_and_told(caplog):
    x = column() + 5
    model = Fragile(lambda call: call == 50)
    with caplog.at_level(logging.WARNING):
        history = train(model, x, config=config(steps=400, averaging=0.05), rng=0)
    assert model.value.item() == pytest.approx(x.mean().item(), abs=0.1)
    assert len(history.messages) == 1
    assert "non-finite loss" in history.messages[0]
    assert "went back to the last good state and halved the learning rate" in caplog.text
    assert history.steps[-1] == 400
    assert model.rates[-1] == model.rate / 2
    assert all(math.isfinite(loss) for loss in history.losses["model"])


@pytest.mark.usefixtures("clock")
def test_two_nans_after_one_good_state_are_rescued():
    """The second return finds the good state as it was: the optimizer must not have moved it."""
    x = column() + 5
    model = Fragile(lambda call: call in (150, 250))
    history = train(model, x, config=config(steps=None, budget=10), rng=0)
    assert len(history.messages) == 2
    assert model.value.item() == pytest.approx(x.mean().item(), abs=0.2)


@pytest.mark.usefixtures("clock")
def test_a_nan_at_the_end_of_a_time_budget_gives_the_last_good_state():
    model = Fragile(lambda call: call == 190)
    history = train(model, column() + 5, config=config(steps=None, budget=2), rng=0)
    assert math.isfinite(model.value.item())
    assert model.value.item() > 1
    assert history.steps == [100]
    assert len(history.messages) == 1


@pytest.mark.usefixtures("clock")
def test_a_model_that_is_always_nan_is_given_up():
    with pytest.raises(TrainingError, match="after five returns to the last good state"):
        train(Fragile(lambda _: True), column(), config=config(steps=50), rng=0)
    with pytest.raises(TrainingError, match="the budget is over before any good state"):
        train(Fragile(lambda _: True), column(), config=config(steps=None, budget=0.5), rng=0)


def test_infinite_weights_are_noticed_though_the_loss_is_finite():
    class Runaway(Constant):
        def loss(self, x, condition, *, player, rng):
            loss = super().loss(x, condition, player=player, rng=rng)
            if len(self.batches) == 20:
                self.other.data.fill_(torch.inf)
            return loss + 0 * x[:, 0]

    model = Runaway()
    model.other = nn.Parameter(torch.zeros(1))
    history = train(model, column(), config=config(steps=40), rng=0)
    assert len(history.messages) == 1
    assert "non-finite weights (other)" in history.messages[0]
    assert torch.isfinite(model.other).all()


# ---------------------------------------------------------------- average of the weights


@pytest.mark.parametrize(("width", "gamma"), [(0.05, 16.97), (0.10, 6.94)])
def test_exponent_of_the_average(width, gamma):
    """The values that arXiv:2312.02696 names, and the formula they solve."""
    found = power_of_width(width)
    assert found == pytest.approx(gamma, abs=0.005)
    assert math.sqrt(found + 1) / ((found + 2) * math.sqrt(found + 3)) == pytest.approx(width)


@pytest.mark.parametrize("width", [0.05, 0.15])
def test_average_of_a_known_trajectory(width):
    """Weights that grow as t average to (gamma + 1) / (gamma + 2) t, with the width claimed."""
    model = Constant()
    average, square = Average(model, width), Average(model, width)
    n = 4000
    for t in range(1, n + 1):
        model.value.data.fill_(t / n)
        average.update(model, t)
        model.value.data.square_()
        square.update(model, t)
    gamma = power_of_width(width)
    mean = average.tensors[0].item()
    assert mean == pytest.approx((gamma + 1) / (gamma + 2), abs=1e-3)
    assert math.sqrt(square.tensors[0].item() - mean**2) == pytest.approx(width, rel=0.02)


def test_the_first_step_replaces_the_initial_weights():
    model = Constant(start=100.0)
    average = Average(model, 0.05)
    model.value.data.fill_(3.0)
    average.update(model, 1)
    assert average.tensors[0].item() == 3


def test_averaging_lowers_the_noise_of_the_last_step():
    def spread(averaging):
        values = []
        for seed in range(10):
            model = Constant(rate=0.3)
            setting = config(steps=150, batch_size=4, averaging=averaging, gradient_clip=0.0)
            train(model, column(4096), config=setting, rng=seed)
            values.append(model.value.item())
        return np.std(values)

    assert spread(0.1) < 0.5 * spread(0.0)


# ---------------------------------------------------------------- choice of the weights


class Passing(Constant):
    """Moves on by a tenth per step, past the weights that it scores best."""

    best, scored = 15.0, True

    def loss(self, x, condition, *, player, rng):
        self.value.data += 0.1
        return (x[:, 0] - self.value).square() * 0

    def score(self, x, condition, *, rng):
        return abs(self.value.item() - self.best) if self.scored else None


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("averaging", [0.0, 0.05])
def test_the_weights_with_the_best_score_are_kept(averaging):
    model = Passing()
    history = train(model, column(), config=config(steps=400, averaging=averaging), rng=0)
    steps, scores = history.diagnostics["step"], history.diagnostics["score"]
    assert len(steps) == 4
    assert history.kept_step == steps[int(np.argmin(scores))] < 400
    assert abs(model.value.item() - model.best) == pytest.approx(min(scores), abs=1e-5)
    assert History.from_dict(json.loads(json.dumps(history.to_dict()))) == history


@pytest.mark.usefixtures("clock")
def test_the_last_weights_are_kept_where_nothing_is_better_or_scored():
    for changes, keep in (({}, "last"), ({"scored": False}, "best"), ({"best": 40.0}, "best")):
        model = Passing()
        vars(model).update(changes)
        history = train(model, column(), config=config(steps=400, keep=keep), rng=0)
        assert history.kept_step is None
        assert model.value.item() == pytest.approx(40.0, abs=1e-3)


def test_a_player_may_have_several_turns():
    model = Constant()
    model.turns = {"model": 3}
    history = train(model, column(), config=config(steps=4, batch_size=16), rng=0)
    assert len(model.batches) == 12
    assert history.n_events_seen == 12 * 16


# ---------------------------------------------------------------- reports


@pytest.mark.usefixtures("clock")
def test_progress_is_told_now_and_then():
    told = []
    train(Constant(), column(), config=config(steps=None, budget=4), rng=0, progress=told.append)
    assert len(told) == pytest.approx(4 / 0.2, abs=2)
    assert [p.step for p in told] == sorted(p.step for p in told)
    middle = told[len(told) // 2]
    assert middle.fraction == pytest.approx(0.5, abs=0.06)
    assert middle.seconds_left == pytest.approx(4 * (1 - middle.fraction), rel=0.05)
    assert middle.events_per_second == pytest.approx(64 / 0.01, rel=0.05)
    assert math.isfinite(middle.loss["model"])


def test_history_is_plain():
    history = train(Constant(), column(), config=config(validation_fraction=0.1), rng=0)
    again = History(**json.loads(json.dumps(history.to_dict())))
    assert again == history
    assert len(again.steps) == len(again.losses["model"]) == len(again.validation["model"]) == 1
