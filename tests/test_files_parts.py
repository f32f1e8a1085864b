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
import threading
import time

import awkward as ak
import h5py
import numpy as np
import pytest

from physgen.events import Events
from physgen.files import atomic, dialects, pieces, read_events, write_events
from physgen.files.interrupts import Interrupts, uninterrupted
from physgen.files.parts import n_safe_events, parts_folder, write_stream
from physgen.files.sink import Sink
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


# ---------------------------------------------------------------- Ctrl-C inside of HDF5


class Interrupted:
    """Sends SIGINT within the k-th call that HDF5 makes to our file object, for good."""

    def __init__(self, k):
        self.k, self.n = k, 0
        self.write = Sink.write

    def __call__(self, sink, block):
        self.n += 1
        if self.n == self.k:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return self.write(sink, block)


def interrupted(monkeypatch, k, call):
    """Whether the call was interrupted within the k-th write, or it has fewer."""
    with monkeypatch.context() as patch:
        hook = Interrupted(k)
        patch.setattr(Sink, "write", lambda sink, block: hook(sink, block))
        try:
            call()
        except KeyboardInterrupt:
            return True
        assert hook.n < k, "the interrupt was lost"
        return False


def test_ctrl_c_in_any_write_of_a_stream(tmp_path, monkeypatch):
    """Also while the parts are joined: nothing safe is lost, and the same call goes on."""
    path = tmp_path / "a.h5"
    n_safe = []
    for k in range(1, 200):
        before = signal.getsignal(signal.SIGINT)
        went_on = interrupted(monkeypatch, k, lambda: write_stream(path, stream(300), N, REQUEST))
        assert signal.getsignal(signal.SIGINT) is before
        if not went_on:
            break
        assert not path.exists()
        n_safe.append(n_safe_events(path))
        for part in parts_folder(path).glob("0*.h5"):
            read_events(part)
        if k % 2:  # a fresh start every second time, so that every write is met
            for left in parts_folder(path).iterdir():
                left.unlink()
    same(path, made(0, N))
    assert {300, 600, 900, N} <= set(n_safe)  # what was being written is finished


def test_ctrl_c_in_any_write_of_a_file(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    write_events(path, made(0, 5))
    k = 1
    while interrupted(monkeypatch, k, lambda: write_events(path, made(0, 20))):
        same(path, made(0, 5))
        k += 1
    assert k > 4
    same(path, made(0, 20))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.h5"]


def test_unprotected_the_interrupt_is_lost_in_hdf5(tmp_path):
    """The hook meets what it is for: without the protection the file is not what it seems."""
    code = (
        "import contextlib, os, signal, sys; import numpy as np\n"
        "from physgen.events import Events\n"
        "from physgen.files import hdf5, read_events, write_events\n"
        "from physgen.files.sink import Sink\n"
        "hdf5.uninterrupted = contextlib.nullcontext\n"
        "write, n = Sink.write, 0\n"
        "def hook(sink, block):\n"
        "    global n\n"
        "    n += 1\n"
        "    if n == int(sys.argv[2]): os.kill(os.getpid(), signal.SIGINT)\n"
        "    return write(sink, block)\n"
        "Sink.write = hook\n"
        "write_events(sys.argv[1], Events.from_dict({'x': np.arange(99)}))\n"
    )
    codes = set()
    for k in (1, 3):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "a.h5"), str(k)], capture_output=True
        )
        codes.add((done.returncode, b"ignored" in done.stderr))
    assert codes - {(-signal.SIGINT, False)}


def test_ctrl_c_at_random_moments(tmp_path):
    """A process that writes all the time is interrupted cleanly whenever it is."""
    code = (
        "import sys; import numpy as np; from physgen.events import Events\n"
        "from physgen.files.parts import write_stream\n"
        "x = np.random.default_rng(1).integers(0, 99, (20, 4096, 8))\n"
        "def pieces(start):\n"
        "    return (Events.from_dict({'x': x[k]}) for k in range(start // 4096, 20))\n"
        "def write(): write_stream(sys.argv[1], pieces, x[..., 0].size, {})\n"
        # Python itself may swallow an interrupt while it imports: that is behind us here
        "write()\n"
        "print('ready', flush=True)\n"
        "try:\n"
        "    while True: write()\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    path = tmp_path / "a.h5"
    moments = random.Random(1)
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        process.stdout.readline()
        time.sleep(moments.uniform(0.1, 0.6))
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 130, err
        assert b"ignored" not in err
        for file in (*parts_folder(path).glob("0*.h5"), *tmp_path.glob("a.h5")):
            assert len(read_events(file)) in (4096, 20 * 4096)


def test_ctrl_c_waits_for_the_outermost_block():
    before = signal.getsignal(signal.SIGINT)
    reached = []

    def nested():
        with uninterrupted():
            with uninterrupted():
                os.kill(os.getpid(), signal.SIGINT)
            reached.append("outer")

    def delivered():
        with uninterrupted() as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            interrupts.deliver()
            reached.append("never")

    def failed():
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            raise OSError("full")

    for call in (nested, delivered, failed):
        with pytest.raises(KeyboardInterrupt) as caught:
            call()
        assert signal.getsignal(signal.SIGINT) is before
    assert isinstance(caught.value.__context__, OSError)
    assert reached == ["outer"]


def test_handlers_that_are_not_python_and_other_threads_stay():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with uninterrupted():
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    seen = []

    def elsewhere():
        with uninterrupted():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before]
    assert not isinstance(before, Interrupts)


@pytest.mark.parametrize("name", ["a.h5", "a.root"])
def test_parts_are_kept_until_the_whole_is_read_back(tmp_path, monkeypatch, name):
    path = tmp_path / name
    with monkeypatch.context() as patch:
        if name == "a.h5":
            patch.setattr("physgen.files.pieces._join_flat", lambda *_: None)
        else:
            patch.setattr(
                "physgen.files.parts.iter_events", lambda parts: iter([read_events(parts[0])])
            )
        with pytest.raises(OSError, match=r"cannot be read back .* parts are kept: repeat"):
            write_stream(path, stream(), N, REQUEST)
    assert not path.exists()
    assert n_safe_events(path) == N
    write_stream(path, stream(), N, REQUEST)
    same(path, made(0, N))


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
    for damaged in ("{", "[1]"):
        request.write_text(damaged)
        with pytest.raises(ValueError, match=r"request.json is damaged .* start afresh"):
            write_stream(path, stream(), N, REQUEST, prepare=lambda: pytest.fail("too early"))


def test_where_there_are_no_locks_it_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    write_stream(tmp_path / "a.h5", stream(), N, REQUEST)
    same(tmp_path / "a.h5", made(0, N))
    assert "do not write a.h5 from two processes" in caplog.text
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.h5"]


@forks
def test_a_folder_that_another_writer_has_just_removed_is_not_written_into(tmp_path, monkeypatch):
    import fcntl

    take = fcntl.flock

    def late(handle, how):
        (parts_folder(tmp_path / "a.h5") / "lock").unlink()
        take(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(BlockingIOError, match="that finished just now"):
        write_stream(tmp_path / "a.h5", stream(), N, REQUEST)


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


def test_jets_of_unknown_width_are_kept_in_our_own_layout(tmp_path):
    """The layout of JetNet has the width of the largest jet, which no piece knows."""
    lists = ak.values_astype(ak.Array([[1.0], [], [2.0, 3.0], [4.0]]), "f4")
    names = ("particle_eta_rel", "particle_phi_rel", "particle_pt_rel")
    flat = dict.fromkeys(("pt", "eta", "mass", "n_particles"), np.ones(4, "f4"))
    jets = Events.from_dict(
        {**dict.fromkeys(names, lists), **flat}, conventions={"layout": "jetnet"}
    )

    def pieces_of(start):
        yield from (jets[k : k + 2] for k in range(start, 4, 2))

    write_stream(tmp_path / "a.h5", pieces_of, 4, REQUEST)
    with h5py.File(tmp_path / "a.h5") as file:
        assert "particle_features" not in file
    found = read_events(tmp_path / "a.h5")
    assert all(found[name].to_list() == lists.to_list() for name in names)


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


def showers(seed):
    rng = np.random.default_rng(seed)
    conventions = {"layout": "calochallenge"}
    columns = {"incident_energies": rng.normal(size=1500), "showers": rng.normal(size=(1500, 368))}
    return Events.from_dict(columns, conventions=conventions)


@pytest.mark.parametrize("kind", ["part", "join", "dialect"])
def test_nothing_more_is_made_once_the_disk_is_full(tmp_path, monkeypatch, kind):
    """HDF5 hears of no error, so that we must ask for it."""
    long = Events.from_dict(dict.fromkeys("ab", np.random.default_rng(0).random(400_000)))
    pieces.write_part(tmp_path / "0.h5", long)
    known = [tmp_path / "0.h5"] * 2
    calls = {
        "part": lambda path: pieces.write_part(path, long),
        "join": lambda path: pieces.join(known, path),
        "dialect": lambda path: pieces.join_dialect(
            map(showers, range(3)), path, dialects.for_events(showers(0), None)
        ),
    }
    written, name = [], "_join_flat" if kind == "join" else "_append"
    write = getattr(pieces, name)

    def noted(dataset, values):
        written.append(dataset.name)
        write(dataset, values)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pieces, name, noted)
    calls[kind](tmp_path / "whole.h5")
    n_whole = len(written)
    monkeypatch.setattr(Sink, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        calls[kind](tmp_path / "half.h5")
    assert 0 < len(written) - n_whole <= n_whole / 2
    monkeypatch.undo()
    calls[kind](tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_what_is_no_part_is_not_joined(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(3.0)
    with pytest.raises(OSError, match=r"a.h5 has no schema, so it is no part of events"):
        pieces.join([tmp_path / "a.h5"], tmp_path / "b.h5")


def test_a_disk_that_is_full_from_the_start_and_sizes_that_are_set(tmp_path, monkeypatch):
    """What HDF5 asks of a file object, also when nothing can be written any more."""
    with contextlib.closing(Sink(tmp_path / "a")) as sink:
        assert sink.readable()
        assert sink.writable()
        assert sink.seekable()
        sink.write(b"abcdef")
        assert sink.seek(-2, os.SEEK_END) == 4
        assert sink.read(2) == b"ef"
        assert sink.seek(-4, os.SEEK_CUR) == 2
        assert sink.truncate() == 2
        assert sink.truncate(4) == 4
        sink.seek(0)
        assert sink.read(6) == b"ab\0\0\0\0"  # zero where nothing was written

        def full(_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(sink, "_write", full)
        sink.seek(1)
        assert sink.write(b"xyz") == 3
        sink.seek(1)
        assert sink.read(3) == b"xyz"  # HDF5 finds its own metadata
        assert sink.truncate(2) == 2
        with pytest.raises(OSError, match="No space left"):
            sink.check()
    assert (tmp_path / "a").read_bytes() == b"ab\0\0"

    with contextlib.closing(Sink(tmp_path / "b")) as sink:
        sink._file.close()
        sink._file = (tmp_path / "a").open("rb")  # whose size cannot be set
        assert sink.truncate(3) == 3
        with pytest.raises(OSError, match="truncate"):
            sink.check()


# ---------------------------------------------------------------- memory

MEASURE = """
import sys
from pathlib import Path
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
    # not ru_maxrss, which a process inherits from its parent
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) // 1024
write_stream(sys.argv[1], pieces(2), 2 * 4096, {})
before = peak()
write_stream(sys.argv[1], pieces(10), 10 * 4096, {})
streamed = peak()
write_events(sys.argv[1], concatenate(list(pieces(10)(0))), compression="none")
print(streamed - before, peak() - streamed)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", ["a.h5", "a.root"])
def test_memory_does_not_grow_with_the_stream(tmp_path, name):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / name)],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    streamed, collected = map(int, done.stdout.split())
    assert streamed < 60  # MiB, for 160 MiB of events
    assert collected > 120  # the same at once: the test can fail
