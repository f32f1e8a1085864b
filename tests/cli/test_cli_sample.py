"""Samples made by many jobs, in pieces, and again after they were stopped."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import awkward as ak
import h5py
import numpy as np
import pytest

import physgen as pg
from physgen import blocks, shell_sample
from physgen.cli import main
from physgen.files.parts import n_safe_events, parts_folder
from physgen.simulators import SIMULATORS, GaussianRing

ROOT = Path(__file__).parents[2]
ZMUMU = ROOT / "data" / "zmumu.root"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "run"
    line = f"train {ZMUMU} --model vae --fields mu1_pt,Jet_pt --conditions njet --steps 5"
    assert main(f"{line} --vae.n-hidden 16 --seed 1 -o {folder}".split()) == 0
    return folder


def same(path, expected):
    found = pg.read_events(path)
    assert found.schema == expected.schema
    assert all(ak.array_equal(found[n], expected[n]) for n in expected.schema.names)


def shards(line, folder, count, suffix="h5"):
    for k in range(1, count + 1):
        assert main(f"{line} --shard {k}/{count} -o {folder / f's{k}.{suffix}'}".split()) == 0


@pytest.mark.parametrize("suffix", ["h5", "root"])
@pytest.mark.parametrize("count", [1, 3, 11])
def test_shards_of_a_sample_are_the_file_without_them(run, tmp_path, count, suffix):
    """Read by a pattern, s10 after s9, with conditions from the rows of a file."""
    line = f"sample {run} -n 600 --seed 5 --conditions {ZMUMU}"
    shards(line, tmp_path, count, suffix)
    assert main(f"{line} -o {tmp_path / f'whole.{suffix}'}".split()) == 0
    same(tmp_path / "s*", pg.read_events(tmp_path / f"whole.{suffix}"))


def test_shards_of_every_simulator(tmp_path):
    kinds = {"gaussian-ring": "", "ising-ring": "--given beta=0.3"}
    assert kinds.keys() == SIMULATORS.keys()
    kinds["ising"] = "--side 4 --beta 0.2:0.4:3 --n-burn-in 3 --spacing 1"
    for kind, options in kinds.items():
        folder = tmp_path / kind
        folder.mkdir()
        line = f"simulate {kind} {options} -n 2000 --seed 5"
        shards(line, folder, 3)
        assert main(f"{line} -o {folder / 'whole.h5'}".split()) == 0
        same(folder / "s*.h5", pg.read_events(folder / "whole.h5"))


def test_shards_of_a_lattice_begin_at_its_chunks(tmp_path, capsys):
    line = "simulate ising --side 4 --beta uniform:0.2:0.4 --n-burn-in 3 --spacing 1 -n 40000"
    shards(line, tmp_path, 2)
    assert main(f"{line} -o {tmp_path / 'whole.h5'}".split()) == 0
    same(tmp_path / "s*.h5", pg.read_events(tmp_path / "whole.h5"))
    assert len(pg.read_events(tmp_path / "s1.h5")) == 16_384
    assert "40,000 events" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["0/3", "4/3", "2", "a/b", "-1/3"])
def test_a_shard_that_is_none_is_a_wrong_command(run, tmp_path, text, capsys):
    target = tmp_path / "a.h5"
    for line in (f"sample {run}", "simulate gaussian-ring", "simulate ising --beta 0.4"):
        assert main(f"{line} -n 100 --shard {text} -o {target}".split()) == 2
    assert "as in 2/3" in " ".join(capsys.readouterr().err.split())
    assert not target.exists()


def test_more_shards_than_events(run, tmp_path, capsys):
    assert main(f"sample {run} -n 3 --given njet=1 --shard 1/4 -o {tmp_path}/a.h5".split()) == 1
    assert "use 3 shards at most" in capsys.readouterr().err


# ---------------------------------------------------------------- pieces


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(blocks, "_MAX_PIECE", 256)


def stop_after(monkeypatch, n_pieces):
    """Press Ctrl-C before the next piece is made."""
    make = pg.Surrogate.stream

    def stream(*args, **kwargs):
        for k, events in enumerate(make(*args, **kwargs)):
            if k == n_pieces:
                raise KeyboardInterrupt
            yield events

    monkeypatch.setattr(pg.Surrogate, "stream", stream)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("suffix", ["h5", "root"])
def test_a_stopped_sample_goes_on(run, tmp_path, suffix, monkeypatch, capsys):
    target = tmp_path / f"fake.{suffix}"
    line = f"sample {run} -n 1500 --given njet=1 --seed 2 -o {target}"
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        assert main(line.split()) == 130
    assert f"512 of 1,500 events are safe in {target}.parts" in capsys.readouterr().err
    assert not target.exists()
    assert main([*line.split(), "--seed", "3"]) != 0
    assert main(line.replace("njet=1", "njet=2").split()) == 1
    assert "another request" in capsys.readouterr().err
    assert main(line.split()) == 0
    assert "going on after 512 events" in capsys.readouterr().err
    same(target, pg.Surrogate.load(run)(1500, {"njet": 1}, rng=2))
    assert not parts_folder(target).exists()


@pytest.mark.usefixtures("small_pieces")
def test_a_sample_stopped_before_its_first_piece(run, tmp_path, monkeypatch, capsys):
    stop_after(monkeypatch, 0)
    line = f"sample {run} -n 600 --given njet=1 -o {tmp_path / 'fake.h5'}"
    assert main(line.split()) == 130
    assert "before any event was safe" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_pieces")
def test_shards_in_pieces(run, tmp_path):
    line = f"sample {run} -n 1500 --given njet=1 --seed 2"
    shards(line, tmp_path, 2)
    same(tmp_path / "s*.h5", pg.Surrogate.load(run)(1500, {"njet": 1}, rng=2))


@pytest.mark.usefixtures("small_pieces")
def test_pieces_of_showers_keep_the_layout(tmp_path):
    """The file is that of one go, in the layout of the truth, whose voxels other programs read."""
    random = np.random.default_rng(1)
    truth, run = tmp_path / "truth.h5", tmp_path / "run"
    with h5py.File(truth, "w") as file:
        energies = random.uniform(1e3, 1e4, (300, 1)).astype(np.float32)
        file["incident_energies"] = energies
        file["showers"] = energies * random.uniform(0, 0.1, (300, 8)).astype(np.float32)
    assert main(f"train {truth} --model vae --steps 3 --vae.n-hidden 8 -o {run}".split()) == 0
    line = f"sample {run} -n 300 --conditions {truth} --seed 2 -o {tmp_path / 'fake.h5'}"
    assert main(line.split()) == 0
    expected = pg.Surrogate.load(run)(300, pg.read_events(truth), rng=2)
    same(tmp_path / "fake.h5", expected)
    with h5py.File(tmp_path / "fake.h5") as file:
        assert file.attrs["physgen_layout"] == "calochallenge"
        assert file["incident_energies"].shape == (300, 1)
        assert file["showers"].shape == (300, 8)


def slowly_simulate(target, n):
    """In a process that will be killed."""
    make = GaussianRing.stream

    def stream(*args, **kwargs):
        for events in make(*args, **kwargs):
            time.sleep(0.05)
            yield events

    GaussianRing.stream = stream
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    main(f"simulate gaussian-ring -n {n} --seed 4 -o {target}".split())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_killed_simulation_goes_on_without_losing_or_repeating_events(tmp_path, monkeypatch):
    monkeypatch.setattr(shell_sample, "_PIECE", 1000)
    monkeypatch.setattr("physgen.simulators.toys._PIECE", 1000)
    target, n, n_kills = tmp_path / "a.h5", 12_345, 0
    for n_wanted in (1, 4000, 9000):
        job = multiprocessing.get_context("fork").Process(target=slowly_simulate, args=(target, n))
        job.start()
        while job.is_alive() and n_safe_events(target) < n_wanted:
            time.sleep(0.01)
        os.kill(job.pid, signal.SIGKILL)
        job.join()
        n_kills += job.exitcode == -signal.SIGKILL
        assert not target.exists()
    assert n_kills == 3
    assert main(f"simulate gaussian-ring -n {n} --seed 4 -o {target}".split()) == 0
    same(target, GaussianRing()(n, rng=4))


# ---------------------------------------------------------------- many files


def test_many_files_are_compared_as_one(tmp_path):
    events = pg.read_events(ZMUMU, fields=["mu1_pt", "met"], stop=1200)
    for k, a in enumerate(range(0, 1200, 200)):
        pg.write_events(tmp_path / f"part{k}.h5", events[a : a + 200])
    first = [tmp_path / f"part{k}.h5" for k in range(3)]
    line = [
        "compare",
        str(tmp_path / "part[012].h5"),
        *map(str, sorted(tmp_path.glob("part[345]*"))),
    ]
    assert main([*line, "-o", str(tmp_path / "a.json")]) == 0
    pg.write_events(tmp_path / "one.h5", pg.read_events(first))
    pg.write_events(tmp_path / "two.h5", events[600:])
    line = f"compare {tmp_path / 'one.h5'} {tmp_path / 'two.h5'} -o {tmp_path / 'b.json'}"
    assert main(line.split()) == 0
    a, b = ((tmp_path / f"{n}.json").read_text() for n in "ab")
    assert a == b


def test_many_files_are_trained_on_as_one(tmp_path):
    events = pg.read_events(ZMUMU, fields=["met"], stop=300)
    for k in (2, 10):
        pg.write_events(tmp_path / f"part{k}.root", events[:100] if k == 2 else events[100:])
    options = "--model vae --steps 2 --vae.n-hidden 8"
    for name in ("part*.root", "part2.root part10.root"):
        files = " ".join(str(tmp_path / one) for one in name.split())
        assert main(f"train {files} {options} -o {tmp_path / 'run'}".split()) == 0
        info = pg.Surrogate.load(tmp_path / "run").info
        assert info["events_sha256"] == events.sha256()
        assert [file["name"] for file in info["files"]] == ["part2.root", "part10.root"]
