"""A small part of the fuzzing campaign of benchmarks/fuzz.py: the same inputs in every run."""

import sys
from pathlib import Path

import pytest

FUZZING = Path(__file__).parent / "fuzzing"
sys.path.insert(0, str(FUZZING))

import campaign  # noqa: E402
import readers  # noqa: E402

# inputs per reader, within some CPU seconds each
INPUTS = {
    "cuts": 300,
    "idx": 300,
    "mnist": 60,
    "xml": 400,
    "json": 400,
    "hdf5": 60,
    "root": 30,
    "surrogate": 30,
}


@pytest.mark.parametrize("name", list(INPUTS))
def test_damaged_inputs_are_read_or_refused_clearly(tmp_path, name):
    reader = readers.READERS[name](tmp_path)
    verdicts = {}
    for index in range(INPUTS[name]):
        rng = readers.generator(7, name, index)
        verdicts[index] = readers.verdict(reader, reader.input(rng), rng)
    assert {i: v for i, v in verdicts.items() if v not in ("read", "refused")} == {}
    assert "refused" in verdicts.values()


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (KeyError("x"), "raw: KeyError"),
        (MemoryError(), "memory"),
        (ValueError("no place"), "raw: ValueError"),
    ],
)
def test_the_judge_knows_a_bad_reader(raised, words):
    """A negative control: what a reader must not do is noticed."""

    class Bad:
        where = "x.h5"

        def read(self, content, rng):
            raise raised

    assert readers.verdict(Bad(), b"", None).startswith(words)


def test_the_judge_reads_messages(tmp_path):
    reader = readers.Idx(tmp_path)
    assert readers.verdict(reader, b"", readers.generator(0, "idx", 0)) == "refused"
    reader.where = "elsewhere"
    reader.call = lambda _: (_ for _ in ()).throw(RuntimeError)
    assert readers.verdict(reader, b"", readers.generator(0, "idx", 0)).startswith("raw")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(INPUTS))
def test_a_worker_survives_its_limits(tmp_path, name):
    """The same in a process with limits of memory and time, which counts what kills it."""
    found = campaign.run(name, 1000, 3, tmp_path)
    assert (found.inputs, found.offenders, found.crashes, found.hangs) == (1000, 0, 0, 0)
    assert found.read + found.refused == 1000
    assert found.peak_mb < 200


@pytest.mark.slow
def test_a_worker_that_dies_or_hangs_is_counted(tmp_path, monkeypatch):
    """A negative control of the campaign itself."""
    for path in FUZZING.glob("*.py"):
        more = _KILLERS if path.name == "readers.py" else ""
        (tmp_path / path.name).write_text(path.read_text() + more)
    monkeypatch.setattr(campaign, "WORKER", tmp_path / "worker.py")
    found = campaign.run("cuts", 12, 3, tmp_path / "run", seconds=2)
    assert (found.crashes, found.hangs, found.offenders) == (1, 1, 1)
    assert found.inputs == 12
    assert found.read + found.refused == 9


_KILLERS = """

def generator(seed, reader, index):
    made = random.Random(f"{seed}/{reader}/{index}")
    made.index = index if seed == 3 else -1
    return made

def _read(self, text, rng, original=Cuts.read):
    if rng.index == 3:
        import ctypes
        ctypes.string_at(0)
    if rng.index == 5:
        while True:
            pass
    if rng.index == 7:
        bytearray(1 << 33)
    return original(self, text, rng)

Cuts.read = _read
"""
