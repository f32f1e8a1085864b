"""A disk that is really full: a file system of 2 MB in memory, where one can be mounted."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest

import physgen as pg
from physgen.cli import main


@pytest.fixture
def disk(tmp_path):
    """Two megabytes."""
    if sys.platform != "linux":
        pytest.skip("mounts a tmpfs")
    folder = tmp_path / "disk"
    folder.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(line, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def filled(folder, n_free):
    """A file that leaves so many bytes."""
    usage = os.statvfs(folder)
    other = folder / "other"
    other.write_bytes(bytes(usage.f_bavail * usage.f_bsize - n_free))
    return other


def made(n=1000):
    x = np.random.default_rng(1).normal(size=(n, 8))
    return pg.Events.from_dict({f"x{k}": column for k, column in enumerate(x.T)})


@pytest.mark.parametrize("ending", ["h5", "root"])
def test_a_file_of_events_leaves_the_old_one(disk, ending):
    target = disk / f"events.{ending}"
    pg.write_events(target, made(100))
    old = target.read_bytes()
    other = filled(disk, 100_000)
    with pytest.raises(OSError, match="no space left") as caught:
        pg.write_events(target, made(50_000))
    assert caught.value.errno == errno.ENOSPC
    assert target.read_bytes() == old
    assert sorted(disk.iterdir()) == [target, other]
    other.unlink()
    pg.write_events(target, made(1000))
    assert len(pg.read_events(target)) == 1000


def test_a_surrogate_leaves_the_old_one(disk):
    events = made()
    small, large = (
        pg.Surrogate.fit(events, pg.Diffusion(n_hidden=n), steps=2, rng=1) for n in (8, 256)
    )
    small.save(disk / "run")
    expected = small(10, rng=3)
    other = filled(disk, 40_000)
    with pytest.raises(OSError, match="no space left"):
        large.save(disk / "run")
    assert pg.Surrogate.load(disk / "run")(10, rng=3).sha256() == expected.sha256()
    assert sorted(disk.iterdir()) == [other, disk / "run"]


def test_a_training_goes_on_without_its_checkpoints(disk, caplog):
    settings = {"steps": 30, "rng": 1, "checkpoint_every": 10}
    untouched = pg.Surrogate.fit(made(), pg.VAE(n_hidden=64), **settings)
    other = filled(disk, 8192)
    found = pg.Surrogate.fit(made(), pg.VAE(n_hidden=64), **settings, checkpoint=disk / "kept")
    assert "no space left" in caplog.text
    assert found(50, rng=2).sha256() == untouched(50, rng=2).sha256()
    other.unlink()
    again = pg.Surrogate.fit(made(), pg.VAE(n_hidden=64), **settings, checkpoint=disk / "kept")
    assert again(50, rng=2).sha256() == untouched(50, rng=2).sha256()


def test_a_sample_in_pieces_goes_on_when_there_is_room(disk, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("physgen.blocks._MAX_PIECE", 2048)
    pg.Surrogate.fit(made(), pg.VAE(n_hidden=8), steps=2, rng=1).save(tmp_path / "run")
    line = f"sample {tmp_path / 'run'} -n 12000 --seed 5 -o"
    assert main([*line.split(), str(tmp_path / "whole.h5")]) == 0
    other = filled(disk, 250_000)
    assert main([*line.split(), str(disk / "s.h5")]) == 1
    assert "no space left" in " ".join(capsys.readouterr().err.split())
    assert not (disk / "s.h5").exists()
    other.unlink()
    assert main([*line.split(), str(disk / "s.h5")]) == 0
    assert "going on after" in " ".join(capsys.readouterr().err.split())
    whole, found = (pg.read_events(folder) for folder in (tmp_path / "whole.h5", disk / "s.h5"))
    assert found.sha256() == whole.sha256()


def test_the_report_leaves_the_old_one(disk):
    report = pg.compare(made(100), made(100), max_events=100, observables=False)
    (disk / "report.html").write_text("old")
    filled(disk, 8192)
    with pytest.raises(OSError, match="no space left"):
        report.save(disk / "report.html")
    assert (disk / "report.html").read_text() == "old"
