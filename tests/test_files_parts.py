"""A stream of events that is stopped at any moment ends as the same file."""

import contextlib
import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

import awkward as ak
import h5py
import numpy as np
import pytest

from physgen.events import Events
from physgen.files import atomic, read_events, write_events
from physgen.files.parts import n_safe_events, parts_folder, write_stream
from physgen.schema import Field, Schema

N = 1000
REQUEST = {"what": "numbers", "seed": 1}
SCHEMA = Schema(
    (Field("s", "int8", shape=(8, 8), allowed=(-1, 1)), Field("i", "int64", unit="GeV")),
    {"note": "kept"},
)
forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def made(start, stop):
    """Spins that depend on the number of the event alone."""
    i = np.arange(start, stop)
    bits = np.stack([np.random.Philox(key=int(k)).random_raw(1) for k in i]).view("u1")
    spins = 2 * np.unpackbits(bits, axis=1).astype("i1") - 1
    return Events(SCHEMA, {"s": spins.reshape(-1, 8, 8), "i": i})


def stream(step=64, seconds=0.0):
    """Pieces that end at multiples of a step, wherever they begin."""

    def pieces(start):
        while start < N:
            stop = min(N, (start // step + 1) * step)
            time.sleep(seconds)
            yield made(start, stop)
            start = stop

    return pieces


def same(path, expected):
    found = read_events(path)
    assert found.schema == expected.schema
    for name in expected.schema.names:
        assert ak.array_equal(found[name], expected[name], dtype_exact=True), name


class Stop(Exception):
    pass


def stopped_after(n, step=64):
    def pieces(start):
        for events in stream(step)(start):
            if events["i"][0] >= n:
                raise Stop
            yield events

    return pieces


# ---------------------------------------------------------------- the file


@pytest.mark.parametrize("name", ["a.h5", "a.root"])
@pytest.mark.parametrize("step", [64, 100, N])
def test_the_file_is_that_of_write_events(tmp_path, name, step):
    seen = []
    write_stream(tmp_path / name, stream(step), N, REQUEST, observe=lambda e: seen.append(e["i"]))
    same(tmp_path / name, made(0, N))
    assert np.concatenate(seen).tolist() == list(range(N))
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.h5", "a.root"])
def test_jagged_columns_and_collections(tmp_path, jets, name):
    def pieces(start):
        for first in range(start, 6, 2):
            yield jets[first : first + 2]

    write_stream(tmp_path / name, pieces, 6, {})
    same(tmp_path / name, jets)
    if name == "a.h5":
        with h5py.File(tmp_path / name) as file:
            assert file["Jet_pt/offsets"] == file["Jet_eta/offsets"]


def test_compressed_chunks_are_copied_where_they_fit(tmp_path):
    """1 bit per spin and not much more, and joining does not compress again."""
    big = np.random.default_rng(0).integers(0, 2, (1 << 15, 64)).astype("i1") * 2 - 1
    events = Events(Schema((Field("s", "int8", shape=(64,), allowed=(-1, 1)),)), {"s": big})
    half = 1 << 14
    write_stream(tmp_path / "a.h5", lambda first: (events[k : k + half] for k in (0, half)
                 if k >= first), len(events), {})  # fmt: skip
    same(tmp_path / "a.h5", events)
    assert (tmp_path / "a.h5").stat().st_size < 1.3 * big.size / 8


# ---------------------------------------------------------------- stopped, then continued


def test_a_stopped_stream_leaves_readable_parts_and_goes_on(tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(Stop):
        write_stream(path, stopped_after(300), N, REQUEST)
    assert n_safe_events(path) == 320
    folder = parts_folder(path)
    parts_there = sorted(folder.glob("0*.h5"))
    same(parts_there[2], made(128, 192))
    assert not path.exists()
    starts = []

    def pieces(start):
        starts.append(start)
        yield from stream()(start)

    write_stream(path, pieces, N, REQUEST)
    assert starts == [320]
    same(path, made(0, N))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.h5"]


def child(path, seconds):
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        write_stream(path, stream(seconds=seconds), N, REQUEST)


@forks
@pytest.mark.parametrize("name", ["a.h5", "a.root"])
def test_killed_at_random_moments(tmp_path, name):
    """Killed again and again, the file is the undisturbed one to the byte."""
    write_stream(tmp_path / f"undisturbed-{name}", stream(), N, REQUEST)
    path = tmp_path / name
    fork = multiprocessing.get_context("fork")
    moments = random.Random(3)
    n_killed = 0
    for _ in range(8):
        process = fork.Process(target=child, args=(path, 0.002))
        process.start()
        process.join(moments.uniform(0.02, 0.3))
        if not process.is_alive():
            break
        process.kill()
        process.join()
        n_killed += 1
        for part in parts_folder(path).glob("0*.h5"):
            read_events(part)
    write_stream(path, stream(), N, REQUEST)
    same(path, made(0, N))
    assert n_killed >= 2
    if name == "a.h5":  # ROOT files carry the time of writing
        assert path.read_bytes() == (tmp_path / f"undisturbed-{name}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("moment", ["join", "clean"])
def test_killed_while_it_ends(tmp_path, monkeypatch, moment):
    path = tmp_path / "a.h5"

    def stop(*_):
        raise Stop

    def stop_at_the_end(*_):
        if path.exists():
            raise Stop

    with monkeypatch.context() as patch:
        if moment == "join":
            patch.setattr("physgen.files.pieces.join", stop)
        else:
            patch.setattr("physgen.files.parts._forget", stop_at_the_end)
        with pytest.raises(Stop):
            write_stream(path, stream(), N, REQUEST)
    assert path.exists() == (moment == "clean")
    assert n_safe_events(path) == N
    write_stream(path, stream(), N, REQUEST)
    same(path, made(0, N))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("harm", ["cut", "noise", "gone", "other"])
def test_a_damaged_part_is_made_again(tmp_path, harm, caplog):
    path = tmp_path / "a.h5"
    with pytest.raises(Stop):
        write_stream(path, stopped_after(300), N, REQUEST)
    part = parts_folder(path) / f"{128:012}-{192:012}.h5"
    content = part.read_bytes()
    match harm:
        case "cut":
            part.write_bytes(content[: len(content) // 2])
        case "noise":
            with h5py.File(part) as file:
                at = file["s"].id.get_chunk_info(0).byte_offset
            part.write_bytes(content[: at + 99] + bytes(99) + content[at + 198 :])
        case "gone":
            part.unlink()
        case "other":
            write_events(part, made(0, 5))
    # pieces of another size: what is made again must end where the next part begins
    write_stream(path, stream(300), N, REQUEST)
    same(path, made(0, N))
    assert ("made again" in caplog.text) == (harm != "gone")


# ---------------------------------------------------------------- refusals


def test_another_request_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(Stop):
        write_stream(path, stopped_after(300), N, REQUEST)
    with pytest.raises(
        ValueError, match=r"320 events .* seed was 1 and is 2; .*delete the folder"
    ):
        write_stream(path, stream(), N, {**REQUEST, "seed": 2})
    with pytest.raises(ValueError, match=r"more was null and is .long"):
        write_stream(path, stream(), N, {**REQUEST, "more": "long" * 99})
    with pytest.raises(ValueError, match="n_events was 1000 and is 900"):
        write_stream(path, stream(), 900, REQUEST)
    assert n_safe_events(path) == 320
    request = parts_folder(path) / "request.json"
    assert json.loads(request.read_text()) == {"n_events": N, **REQUEST}
    request.write_text("{")
    with pytest.raises(ValueError, match=r"request.json is damaged .* start afresh"):
        write_stream(path, stream(), N, REQUEST)


@forks
def test_two_writers_of_one_file(tmp_path):
    path = tmp_path / "a.h5"
    process = multiprocessing.get_context("fork").Process(target=child, args=(path, 0.2))
    process.start()
    while not n_safe_events(path):
        time.sleep(0.01)
    with pytest.raises(BlockingIOError, match=rf"process \({process.pid}\) is writing a.h5; wait"):
        write_stream(path, stream(), N, REQUEST)
    process.kill()  # its lock is there, but it is not
    process.join()
    assert (parts_folder(path) / "lock").exists()
    write_stream(path, stream(), N, REQUEST)
    same(path, made(0, N))


def test_streams_that_do_not_keep_their_word(tmp_path):
    path = tmp_path / "a.h5"

    def changing(start):
        yield made(start, 64)
        yield made(64, 128)[["i"]]

    with pytest.raises(ValueError, match=r"event 64 of the stream has other columns"):
        write_stream(path, changing, N, REQUEST)
    assert n_safe_events(path) == 64
    with pytest.raises(ValueError, match=r"the stream ended after 64 of 1,000 events"):
        write_stream(path, lambda _: iter(()), N, REQUEST)
    write_stream(path, stream(), N, REQUEST)
    same(path, made(0, N))


def test_a_call_that_made_nothing_leaves_nothing(tmp_path):
    for name, error in (("a.h5", Stop), ("a.txt", ValueError), ("a-idx3-ubyte", ValueError)):
        with pytest.raises(error):
            write_stream(tmp_path / name, stopped_after(0), N, REQUEST)
    with pytest.raises(ValueError, match="n_events must be 1 or more"):
        write_stream(tmp_path / "a.h5", stream(), 0, REQUEST)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write_stream(tmp_path / "no" / "a.h5", stream(), N, REQUEST)
    assert list(tmp_path.iterdir()) == []


def test_what_root_cannot_hold_is_found_at_the_first_piece(tmp_path):
    half = Events.from_dict({"x": np.zeros(N, dtype=np.float16)})
    n_made = []

    def pieces(start):
        for first in range(start, N, 100):
            n_made.append(first)
            yield half[first : first + 100]

    with pytest.raises(ValueError, match="float16, which a ROOT tree cannot hold"):
        write_stream(tmp_path / "a.root", pieces, N, {})
    assert n_made == [0]


def test_files_of_others_in_the_folder_stay(tmp_path):
    parts_folder(tmp_path / "a.h5").mkdir()
    mine = parts_folder(tmp_path / "a.h5") / "notes.txt"
    mine.write_text("mine")
    write_stream(tmp_path / "a.h5", stream(), N, REQUEST)
    assert [entry.name for entry in mine.parent.iterdir()] == ["notes.txt"]


def test_a_full_disk_says_what_is_safe(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    n_synced = 0
    sync = atomic._sync

    def full(file):
        nonlocal n_synced
        n_synced += 1
        if n_synced > 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(file)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_sync", full)
        with pytest.raises(OSError, match=r"256 of 1,000 events are safe in .*a.h5.parts: free"):
            write_stream(path, stream(), N, REQUEST)
    write_stream(path, stream(), N, REQUEST)
    same(path, made(0, N))


# ---------------------------------------------------------------- memory

MEASURE = """
import resource, sys
import numpy as np
from physgen.events import Events, concatenate
from physgen.files import write_events
from physgen.files.parts import write_stream

SIZE = 1 << 24
def pieces(n):
    def make(start):
        for k in range(start // 4096, n):
            yield Events.from_dict({"s": np.full((4096, SIZE // 4096), k, dtype=np.uint8)})
    return make
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
write_stream(sys.argv[1], pieces(2), 2 * 4096, {})
before = peak()
write_stream(sys.argv[1], pieces(10), 10 * 4096, {})
streamed = peak()
write_events(sys.argv[1], concatenate(list(pieces(10)(0))), compression="none")
print(streamed - before, peak() - streamed)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
@pytest.mark.parametrize("name", ["a.h5", "a.root"])
def test_memory_does_not_grow_with_the_stream(tmp_path, name):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / name)],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    streamed, collected = map(int, done.stdout.split())
    assert streamed < 60  # MiB, for 160 MiB of events
    assert collected > 120  # the same at once: the test can fail
