"""Many processes train one model: as one process would, and all of them the same."""

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import physgen as pg
from physgen.cli import main
from physgen.models import ebm, rbm
from physgen.networks.mlp import Perceptron
from physgen.training import TrainingConfig, TrainingError, train
from physgen.training import loop as loop_module
from physgen.training.ranks import LostProcessError, Ranks

pytestmark = pytest.mark.skipif(
    not (hasattr(os, "fork") and torch.distributed.is_available()), reason="needs fork and gloo"
)

ROOT = Path(__file__).parents[1]
TINY = {"n_hidden": 8, "n_layers": 1}
SHORT = TrainingConfig(steps=36, batch_size=16)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def torchrun_variables(rank, world, port):
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
    return {name: str(value) for name, value in names.items()} | {"MASTER_ADDR": "127.0.0.1"}


def own_rank():
    return int(os.environ["RANK"])


def _child(task, rank, world, port, pipe):
    os.environ |= torchrun_variables(rank, world, port)
    try:
        result = task()
    except BaseException as error:
        result = error
    pipe.send(result)
    pipe.close()
    os._exit(0)


def together(task, world=2, seconds=60):
    """What ``task()`` returns or raises in each process; None of one that died."""
    context, port = multiprocessing.get_context("fork"), free_port()
    pipes, children = [], []
    for rank in range(world):
        mine, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(task, rank, world, port, theirs))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
            child.start()
        theirs.close()
        pipes.append(mine)
        children.append(child)
    results = []
    for pipe in pipes:
        try:
            results.append(pipe.recv() if pipe.poll(seconds) else TimeoutError())
        except EOFError:
            results.append(None)
    for child in children:
        child.join(5)  # under coverage it writes its data at its end
        child.kill()
        child.join()
    return results


def weights(model):
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[n], b[n]) for n in a)


class Line(nn.Module):
    """A regression without noise."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2).double()
        self.unused = nn.Parameter(torch.ones(2))

    def loss(self, x, condition, *, player, rng):
        return (self.layer(x[:, :3]) - x[:, 3:]).square().mean(1)


def fitted_line(config, seed=0):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(120, 5)))
    torch.manual_seed(seed)  # the first process gives its weights to the others
    model = Line()
    weight = torch.linspace(-0.5, 2, 120)
    history = train(model, x, weight=weight, config=config, rng=4)
    return weights(model), history.to_dict()


# ---------------------------------------------------------------- as one process


# 15 events are 8 and 7: shares that are not equal count as what they are
@pytest.mark.parametrize("world", [2, 3])
def test_without_noise_the_steps_are_those_of_one_process(world):
    config = TrainingConfig(steps=25, batch_size=15, warmup_steps=0)

    def task():
        return fitted_line(config, seed=own_rank())

    (alone, before), results = fitted_line(config), together(task, world)
    for found, history in results:
        assert same(found, results[0][0])
        np.testing.assert_allclose(found["layer.weight"], alone["layer.weight"], atol=1e-6)
        assert np.array_equal(found["unused"], alone["unused"])
        for kind in ("losses", "validation"):
            assert history[kind]["model"] == pytest.approx(before[kind]["model"], abs=1e-6)
        assert history["n_events_seen"] == before["n_events_seen"] == 25 * 15


def test_processes_that_share_nothing_part(monkeypatch):
    def own_loss(*arguments):
        return arguments[4]

    monkeypatch.setattr(Ranks, "sum_gradients", own_loss)
    for error in together(lambda: fitted_line(SHORT)):
        assert isinstance(error, TrainingError)
        assert "have parted before step 36" in str(error)


def normal_events(n=400):
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    return pg.Events.from_dict({"x": x, "y": x + rng.exponential(size=n)})


def spins(n=300):
    values = np.random.default_rng(0).choice([-1, 1], (n, 6)).astype(np.int8)
    return pg.Events.from_dict({"spins": values, "beta": np.linspace(0.2, 0.6, n)})


FAMILIES = [
    (normal_events, pg.VAE(**TINY)),
    (normal_events, pg.GAN(**TINY)),
    (spins, pg.RBM(n_hidden=4)),
]
FURTHER = [
    (normal_events, pg.Diffusion(n_hidden=8, n_blocks=1)),
    (normal_events, pg.EBM(network=ebm.MLPEnergy(**TINY))),
    (spins, pg.RBM(n_hidden=4, chains=rbm.FastPCD())),
    (spins, pg.RBM(n_hidden=4, chains=rbm.TemperedPCD(n_rungs=3))),
    (spins, pg.MaskedDiffusion(network=Perceptron(n_hidden=8))),
]


def fit(events, model, **how):
    conditions = [n for n in events.schema.names if n == "beta"]
    made = pg.Surrogate.fit(
        events, model, conditions=conditions, **{"training": SHORT, "rng": 3} | how
    )
    return weights(made.model), {**made.history.to_dict(), "seconds": None}


@pytest.fixture(scope="module", autouse=True)
def imported():
    """What a training imports late, here once instead of in every process."""
    few = TrainingConfig(steps=2)
    fit(normal_events(), pg.GAN(**TINY), training=few)
    fit(spins(), pg.RBM(n_hidden=4), training=few)


@pytest.fixture
def quick(monkeypatch):
    """Logs that come early, and no looks that take long."""
    monkeypatch.setattr(rbm.RBMModel, "diagnose", lambda *_, **__: ({}, []))
    monkeypatch.setattr(loop_module, "_LOG_STEPS", 12)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("events", "model"),
    [*FAMILIES, *(pytest.param(*case, marks=pytest.mark.slow) for case in FURTHER)],
    ids=lambda value: type(value).__name__.lower(),
)
def test_every_family_holds_the_same_weights_and_goes_on_to_them(events, model, tmp_path):
    sample, folder = events(), tmp_path / "kept"
    how = {"checkpoint": folder, "checkpoint_every": 5}

    def dying():
        step = loop_module.Loop._one_step

        def maybe(self):
            if self.step == 28 and own_rank() == 1:
                os._exit(9)
            step(self)

        loop_module.Loop._one_step = maybe
        return fit(sample, model, **how)

    (first, history), (second, other) = together(lambda: fit(sample, model))
    assert same(first, second)
    assert history == other
    assert len(history["steps"]) == 3
    error, nothing = together(dying)
    assert isinstance(error, LostProcessError)
    assert nothing is None
    for again, after in together(lambda: fit(sample, model, **how)):
        assert same(again, first)
        assert after["losses"] == history["losses"]


@pytest.mark.usefixtures("quick")
def test_a_checkpoint_of_two_processes_is_not_one_of_one(tmp_path):
    model, how = pg.VAE(**TINY), {"checkpoint": tmp_path / "kept", "checkpoint_every": 5}
    together(lambda: fit(normal_events(), model, **how))
    with pytest.raises(ValueError, match=r"processes \(2 there, nothing here\)"):
        fit(normal_events(), model, **how)


@pytest.mark.slow
def test_the_loss_is_that_of_one_process():
    """Held-out losses of ten seeds; with batches four times as small they are others."""
    config = TrainingConfig(steps=400, batch_size=64, validation_fraction=0.3)
    events = normal_events(2000)

    def held_out(seed, batch_size=64):
        how = {"training": pg.TrainingConfig(**{**vars(config), "batch_size": batch_size})}
        return fit(events, pg.VAE(**TINY), rng=seed, **how)[1]["validation"]["vae"]

    def curves():
        return [held_out(seed) for seed in range(10)]

    def pull(a, b):
        a, b = np.array(a).mean(1), np.array(b).mean(1)
        return (a.mean() - b.mean()) / np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 10)

    alone, both = curves(), together(curves, seconds=300)[0]
    assert abs(pull(alone, both)) < 3.5
    # the power of the test: the first steps of a training are others
    early = [held_out(seed, batch_size=4) for seed in range(10)]
    assert abs(pull(early, both)) > 3.5


# ---------------------------------------------------------------- one process in trouble


class Shaky(Line):
    """The second process is in trouble at one step."""

    rank, at, how = 0, 20, "raise"

    def __init__(self):
        super().__init__()
        self.n = 0

    def loss(self, x, condition, *, player, rng):
        self.n += self.training
        loss = super().loss(x, condition, player=player, rng=rng)
        if self.rank == 1 and self.n == self.at:
            if self.how == "raise":
                raise FloatingPointError("the second process is off")
            if self.how == "signal":
                os.kill(os.getpid(), signal.SIGTERM)
            elif self.how == "break":
                raise KeyError("mu1_pt")
            elif self.how == "nan":
                return loss * torch.nan
        return loss


def shaken(how, **more):
    Shaky.rank, Shaky.how = own_rank(), how
    torch.manual_seed(0)
    model, x = Shaky(), torch.from_numpy(np.random.default_rng(0).normal(size=(120, 5)))
    history = train(model, x, config=TrainingConfig(steps=30, batch_size=16), rng=4, **more)
    return weights(model), history.messages


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("how", "message"), [("raise", "the second process is off"), ("nan", "non-finite loss")]
)
def test_all_go_back_if_one_diverges(how, message, capfd):
    (first, messages), (second, others) = together(lambda: shaken(how))
    assert same(first, second)
    assert messages == others
    assert len(messages) == 1
    assert message in messages[0]
    assert capfd.readouterr().err.count("went back") <= 1


def test_all_end_within_seconds_if_one_breaks():
    started = time.monotonic()
    lost, broken = together(lambda: shaken("break"))
    assert isinstance(broken, KeyError)
    assert isinstance(lost, LostProcessError)
    assert "the message of that one says why" in str(lost)
    assert time.monotonic() - started < 20


def test_a_signal_to_one_stops_all_with_a_checkpoint(tmp_path):
    def task():
        return shaken("signal", checkpoint=pg.training.Checkpoint(tmp_path / "kept"))

    for error in together(task):
        assert isinstance(error, SystemExit)
        assert error.code == 143
    assert len(list((tmp_path / "kept").glob("checkpoint-*"))) == 1
    (first, _), (second, _) = together(
        lambda: shaken("none", checkpoint=pg.training.Checkpoint(tmp_path / "kept"))
    )
    alone, _ = together(lambda: shaken("none"))[0]
    assert same(first, second)
    assert same(first, alone)


def test_different_calls_are_refused():
    for error in together(lambda: fit(normal_events(), pg.VAE(**TINY), rng=own_rank())):
        assert isinstance(error, ValueError)
        assert "2 processes of torchrun have different events, settings or seeds" in str(error)


def test_an_empty_share_is_refused():
    config = TrainingConfig(steps=5, batch_size=1)
    for error in together(lambda: fitted_line(config)):
        assert isinstance(error, ValueError)
        assert "batch_size" in str(error)


def test_the_clock_of_the_first_process_ends_all(monkeypatch):
    config = TrainingConfig(budget="1s", batch_size=16)

    def task():
        if own_rank() == 1:
            slow = time.monotonic
            monkeypatch.setattr(loop_module.time, "monotonic", lambda: slow() * 0.01)
        return fitted_line(config)

    (first, history), (second, other) = together(task)
    assert same(first, second)
    assert history == other
    assert 0.9 < history["seconds"][-1] < 5


def test_a_stream_in_two_processes(tmp_path):
    pg.write_events(tmp_path / "a.h5", normal_events(3000))

    def task():
        stream = pg.stream(tmp_path / "a.h5", memory="20 MB")
        made = pg.Surrogate.fit(stream, pg.VAE(**TINY), training=SHORT, rng=3)
        return weights(made.model), made.history.to_dict()

    (first, _), (second, _) = together(task)
    assert same(first, second)


# ---------------------------------------------------------------- the shell


def shell(folder, line):
    """Exit code of a line, with what it says in files of the process."""
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{name}{own_rank()}", os.O_WRONLY | os.O_CREAT), number)
    with os.fdopen(1, "w") as sys.stdout, os.fdopen(2, "w") as sys.stderr:
        return main(line.split())


def test_the_first_process_writes_and_speaks(tmp_path):
    pg.write_events(tmp_path / "a.h5", normal_events())
    line = f"train {tmp_path}/a.h5 --model vae --vae.n-hidden 8 --steps 20 --batch-size 32"
    run = tmp_path / "run"
    assert together(lambda: shell(tmp_path, f"{line} -o {run}")) == [0, 0]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "a.h5", "err0", "err1", "out0", "out1", "run"
    ]  # fmt: skip
    assert "640 events seen" in (tmp_path / "out0").read_text()
    assert (tmp_path / "out1").read_text() == ""
    assert len(pg.Surrogate.load(run)(5, rng=1)) == 5
    assert together(lambda: shell(tmp_path, f"{line} -o {run}")) == [0, 0]
    assert "trained already" in (tmp_path / "out0").read_text()
    assert (tmp_path / "out1").read_text() == ""


@pytest.mark.parametrize(
    ("line", "remedy"), [("sample run -n 10", "--shard"), ("info run", "without torchrun")]
)
def test_other_commands_are_refused(tmp_path, line, remedy):
    assert together(lambda: shell(tmp_path, line)) == [1, 1]
    told = " ".join((tmp_path / "err1").read_text().split())
    assert told.startswith("error in process 1 of 2: torchrun starts 2 processes")
    assert "only `physgen train` is one job of many processes" in told
    assert remedy in told


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port"]


@pytest.mark.slow
def test_torchrun(tmp_path):
    line = (
        "-m physgen train data/zmumu.root --model diffusion --epochs 0.3 --seed 1 "
        f"--diffusion.n-hidden 16 --batch-size 512 -o {tmp_path}/run2"
    )
    done = subprocess.run(
        [*TORCHRUN, str(free_port()), *line.split()],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("events seen") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["run2"]


@pytest.mark.slow
def test_torchrun_ends_when_a_process_is_killed(tmp_path):
    pg.write_events(tmp_path / "a.h5", normal_events())
    line = f"-m physgen train {tmp_path}/a.h5 --model vae --budget 5m --seed 1 -o {tmp_path}/run2"
    runner = subprocess.Popen(
        [*TORCHRUN, str(free_port()), *line.split()],
        cwd=ROOT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    children = Path(f"/proc/{runner.pid}/task/{runner.pid}/children")
    if not children.exists():
        runner.kill()
        pytest.skip("no list of children here")
    while not (tmp_path / "run2.training").exists():
        time.sleep(0.1)
    time.sleep(2)
    victim = int(children.read_text().split()[1])
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    started = time.monotonic()
    _, told = runner.communicate(timeout=60)
    assert runner.returncode != 0
    assert time.monotonic() - started < 40
    assert "SIGKILL" in told
