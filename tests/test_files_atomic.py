"""A file or folder is written whole or not at all."""

import errno
import os
import shutil
import stat
import subprocess
from contextlib import nullcontext

import h5py
import numpy as np
import pytest

from physgen.events import Events
from physgen.files import atomic as module
from physgen.files import atomic_directory, atomic_path, read_events, write_events

SUFFIXES = pytest.mark.parametrize("name", ["a.h5", "a.root", "a-images-idx1-ubyte.gz"])


@pytest.fixture
def events():
    rng = np.random.default_rng(0)  # noise does not compress
    return Events.from_dict({"values": rng.integers(0, 256, 2_000_000).astype("u1")})


@pytest.fixture
def old():
    return Events.from_dict({"values": np.arange(3, dtype="u1")})


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB, where one can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@SUFFIXES
def test_a_full_disk_leaves_the_old_file(small_disk, events, old, name):
    path = small_disk / name
    write_events(path, old)
    before = path.read_bytes()
    with pytest.raises(
        OSError, match=f"no space left while writing .*{name} .{name} is as it was"
    ):
        write_events(path, events)
    assert path.read_bytes() == before
    assert [entry.name for entry in small_disk.iterdir()] == [name]
    assert read_events(path)["values"].tolist() == [0, 1, 2]


def test_a_full_disk_does_not_upset_hdf5(small_disk, tmp_path, events):
    """After a failed write the HDF5 library used to crash the process, files later."""
    wide = Events.from_dict({f"x{i}": events["values"] for i in range(3)})
    for _ in range(20):
        for bad in (events, wide):
            with pytest.raises(OSError, match="no space left"):
                write_events(small_disk / "a.h5", bad)
        write_events(tmp_path / "b.h5", wide[:100])
        assert len(read_events(tmp_path / "b.h5")) == 100
    with h5py.File(tmp_path / "b.h5", "a") as file:
        del file["x0"]
    assert list(small_disk.iterdir()) == []


@SUFFIXES
def test_a_full_disk_is_explained_and_nothing_stays(tmp_path, events, name, monkeypatch):
    """The same without a mount: the flush fails."""

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_sync", full)
    with pytest.raises(
        OSError, match=r"no space left while writing .* \(nothing was written\)"
    ) as e:
        write_events(tmp_path / name, events)
    assert e.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_any_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_halfway():
        with atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_is_beside_the_target_and_takes_its_place(tmp_path):
    path = tmp_path / "a.h5"
    path.write_text("old")
    path.chmod(0o640)
    with atomic_path(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".h5"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.h5").symlink_to(tmp_path / "real" / "a.h5")
    with atomic_path(tmp_path / "link.h5") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.h5").is_symlink()
    assert (tmp_path / "real" / "a.h5").read_text() == "new"


@SUFFIXES
def test_targets_that_cannot_be(tmp_path, old, name):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*/no; create it first"):
        write_events(tmp_path / "no" / name, old)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file is not a folder"):
        write_events(tmp_path / "file" / name, old)
    (tmp_path / name).mkdir()
    with pytest.raises(IsADirectoryError, match="it is a folder; add a file name"):
        write_events(tmp_path / name, old)


def test_a_folder_is_no_file(tmp_path):
    with (
        pytest.raises(IsADirectoryError, match="it is a folder; add a file name to it"),
        atomic_path(tmp_path),
    ):
        pytest.fail("there is nothing to write to")


@pytest.mark.parametrize(("number", "is_fine"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_folders_that_cannot_be_flushed(tmp_path, monkeypatch, number, is_fine):
    """Some network file systems flush files only; an error of the disk is one."""
    flush = os.fsync

    def no_folders(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        flush(handle)

    monkeypatch.setattr(os, "fsync", no_folders)
    told = nullcontext() if is_fine else pytest.raises(OSError, match="Input/output error")
    with told, atomic_path(tmp_path / "a.txt") as path:
        path.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new"


def test_a_folder_that_is_not_ours(tmp_path, old):
    if os.geteuid() == 0:
        folder = "/proc/self"  # not even root may write here
        error: type[OSError] = FileNotFoundError
        with pytest.raises(error):
            write_events(f"{folder}/a.h5", old)
        return
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="not allowed to write"):
        write_events(tmp_path / "a.h5", old)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_refusal_is_explained(tmp_path, old, monkeypatch, number):
    def refused(*_, **__):
        raise OSError(number, "refused")

    monkeypatch.setattr(module.Path, "touch", refused)
    with pytest.raises(
        PermissionError, match=r"not allowed to write .*a.h5 .* folder of your own"
    ):
        write_events(tmp_path / "a.h5", old)


def fill(folder):
    (folder / "sub").mkdir()
    (folder / "surrogate.json").write_text("{}")
    (folder / "sub" / "weights").write_bytes(b"w")


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "run"
    with atomic_directory(target) as temporary:
        fill(temporary)
        assert not target.exists()
    with atomic_directory(target) as temporary:
        (temporary / "new").touch()
    assert [entry.name for entry in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_leaves_the_old_folder(tmp_path, monkeypatch):
    target = tmp_path / "run"
    with atomic_directory(target) as temporary:
        fill(temporary)
    with pytest.raises(ZeroDivisionError), atomic_directory(target) as temporary:
        raise ZeroDivisionError
    rename = module.Path.rename

    def fails_for_the_new_one(path, to):
        if to == target and "new" in {entry.name for entry in path.iterdir()}:
            raise OSError(errno.EIO, "disk on fire")
        return rename(path, to)

    monkeypatch.setattr(module.Path, "rename", fails_for_the_new_one)
    with pytest.raises(OSError, match="disk on fire"), atomic_directory(target) as temporary:
        (temporary / "new").touch()
    assert {entry.name for entry in target.iterdir()} == {"sub", "surrogate.json"}
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "run").touch()
    with (
        pytest.raises(FileExistsError, match="a file has that name"),
        atomic_directory(tmp_path / "run"),
    ):
        pass
