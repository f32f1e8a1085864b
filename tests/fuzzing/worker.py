"""One process that reads damaged inputs until it is done, or dies of one.

    python worker.py READER SEED START STOP FOLDER BOUND_MB

A mapped file tells the parent how far it is, so that the input that killed it is known.
"""

import contextlib
import logging
import mmap
import os
import resource
import struct
import sys
import traceback
from pathlib import Path

import readers

STATE = struct.Struct("6q")  # index, read, refused, offenders, peak growth in kB, ready


def main(name, seed, start, stop, folder, bound_mb):
    os.nice(5)
    logging.disable(logging.CRITICAL)
    folder = Path(folder)
    with open(folder / "state", "r+b") as file:
        state = mmap.mmap(file.fileno(), STATE.size)
    reader = readers.READERS[name](folder)
    for content in reader.valid:
        for index in range(16):
            verdict = readers.verdict(reader, content, readers.generator(0, name, index))
    _limit_memory(bound_mb)
    before = _peak()
    counts = list(STATE.unpack(state[:]))[1:4]
    for index in range(start, stop):
        state[:] = STATE.pack(index, *counts, _peak() - before, 1)
        rng = readers.generator(seed, name, index)
        content = reader.input(rng)
        verdict = readers.verdict(reader, content, rng)
        place = ("read", "refused").index(verdict) if verdict in ("read", "refused") else 2
        counts[place] += 1
        if place == 2:
            with contextlib.suppress(MemoryError):
                keep(folder, name, index, content, verdict)
    state[:] = STATE.pack(stop, *counts, _peak() - before, 1)


def keep(folder, name, index, content, verdict):
    parts = content if isinstance(content, tuple) else (content,)
    for i, part in enumerate(parts):
        raw = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        (folder / f"offender-{name}-{index}-{i}").write_bytes(raw)
    with open(folder / "offenders.txt", "a") as file:
        file.write(f"{name}:{index} {verdict}\n".encode("utf-8", "backslashreplace").decode())


def _limit_memory(bound_mb):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + bound_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    try:
        name, seed, start, stop, folder, bound = sys.argv[1:]
        main(name, int(seed), int(start), int(stop), folder, int(bound))
    except Exception:
        traceback.print_exc()
        sys.exit(1)
