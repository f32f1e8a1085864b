"""Campaigns: a worker per reader, restarted when an input kills it."""

import mmap
import os
import signal
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

STATE = struct.Struct("6q")
WORKER = Path(__file__).with_name("worker.py")


@dataclass
class Outcome:
    """What became of the inputs of one reader."""

    reader: str
    inputs: int = 0
    read: int = 0
    refused: int = 0
    offenders: int = 0
    crashes: int = 0
    hangs: int = 0
    peak_mb: float = 0.0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


def run(reader, n_inputs, seed, folder, *, seconds=10.0, bound_mb=400, max_deaths=50):
    """Try this many inputs of a reader; nothing an input does can end the campaign."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state_path = folder / "state"
    state_path.write_bytes(bytes(STATE.size))
    outcome, start = Outcome(reader), 0
    began = time.monotonic()
    with open(state_path, "r+b") as file:
        state = mmap.mmap(file.fileno(), STATE.size)
    while start < n_inputs and outcome.crashes + outcome.hangs < max_deaths:
        words = [reader, seed, start, n_inputs, folder, bound_mb]
        with open(folder / "stderr.txt", "ab") as errors:
            worker = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", WORKER, *map(str, words)], stderr=errors
            )
            hung = _watch(worker, state, seconds)
        index, read, refused, offenders, peak, ready = STATE.unpack(state[:])
        outcome.peak_mb = max(outcome.peak_mb, peak / 1024)
        if worker.returncode == 0:
            start = n_inputs
        elif not ready:
            raise RuntimeError(f"the worker did not start; see {folder / 'stderr.txt'}")
        else:
            outcome.hangs += hung
            outcome.crashes += not hung
            outcome.notes.append(
                f"{reader}:{index} {'hung' if hung else f'died: {worker.returncode}'}"
            )
            start = index + 1
        outcome.read, outcome.refused, outcome.offenders = read, refused, offenders
        state[:] = STATE.pack(start, read, refused, offenders, 0, 0)
    outcome.inputs = start
    outcome.seconds = time.monotonic() - began
    return outcome


def _watch(worker, state, seconds):
    """Wait for the worker; end it, and say so, if one input takes too long."""
    last, since = (-1, 0), time.monotonic()
    while worker.poll() is None:
        time.sleep(0.05)
        fields = STATE.unpack(state[:])
        now = (fields[0], fields[5])
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > (seconds if fields[5] else 120):
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait()
            return True
    return False
