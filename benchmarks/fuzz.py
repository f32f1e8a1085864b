"""Damaged and hostile inputs by the million: every reader must read or refuse them.

    python benchmarks/fuzz.py                                   # all readers, 1,000,000 and more
    python benchmarks/fuzz.py --reader hdf5 --inputs 20000      # one of them
    python benchmarks/fuzz.py --replay hdf5:1234                # one input again, with its trace

Each reader runs in a process of its own, with a limit of memory and of seconds per input; a
process that dies or hangs is counted and restarted behind the input that did it. Writes
benchmarks/results/fuzz.json and fails if anything was found; the offenders are kept in the folder
that is printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from machine import read_rows, write_result

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "fuzzing"))

import campaign  # noqa: E402
import readers  # noqa: E402

RESULT = HERE / "results" / "fuzz.json"
# cheap inputs carry the million, the others take as long each
INPUTS = {
    "hdf5": 50_000,
    "root": 15_000,
    "surrogate": 15_000,
    "mnist": 20_000,
    "cuts": 250_000,
    "idx": 220_000,
    "xml": 220_000,
    "json": 250_000,
}


def replay(which: str, seed: int) -> None:
    """Read one input of a campaign in this process and show all that happens."""
    name, index = which.split(":")
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        reader = readers.READERS[name](folder)
        rng = readers.generator(seed, name, int(index))
        content = reader.input(rng)
        print(repr(content)[:2000])
        reader.read(content, rng)


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def main() -> int:
    """Run the campaigns and store their counts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--reader", choices=list(INPUTS))
    parser.add_argument("--inputs", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay")
    arguments = parser.parse_args()
    if arguments.replay:
        replay(arguments.replay, arguments.seed)
        return 0
    rows, found = read_rows(RESULT), 0
    for name in [arguments.reader] if arguments.reader else INPUTS:
        folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-", dir=_memory()))
        outcome = campaign.run(name, arguments.inputs or INPUTS[name], arguments.seed, folder)
        bad = outcome.offenders + outcome.crashes + outcome.hangs
        found += bad
        rows[name] = row(outcome, arguments.seed)
        print(f"{name:10} {rows[name]}" + (f"  see {folder}" if bad else ""), flush=True)
        write_result(RESULT, rows)
    return int(found > 0)


def row(outcome: campaign.Outcome, seed: int) -> dict[str, object]:
    """Counts of one reader for the file of results."""
    return {
        "inputs": outcome.inputs,
        "read": outcome.read,
        "refused": outcome.refused,
        "offenders": outcome.offenders,
        "crashes": outcome.crashes,
        "hangs": outcome.hangs,
        "peak_growth_mb": round(outcome.peak_mb, 1),
        "inputs_per_second": round(outcome.inputs / outcome.seconds),
        "seed": seed,
        "died_or_hung": outcome.notes,
    }


if __name__ == "__main__":
    sys.exit(main())
