"""Checkpoints of a training: whole files in a folder, so that a kill costs minutes and no bit.

``checkpoint-000007/state.json`` says where the training stands, of what, and the SHA-256 of
``state.safetensors``, which holds the tensors. Each is written under another name, flushed and
renamed; the one before is kept until the next is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from physgen.files.atomic import atomic_directory, check_writable
from physgen.files.lock import LOCK, locked
from physgen.training.config import seconds
from physgen.training.packing import pack, unpack

__all__ = ["Checkpoint"]

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
STATE, TENSORS = "state.json", "state.safetensors"
_PREFIX = "checkpoint-"
# largest share of the time that goes into checkpoints which are due by time
_SHARE = 0.05


class Checkpoint:
    """Where a training is kept, how often, and of what training it is.

    Parameters
    ----------
    folder : str or path
        Made if it is not there; it may hold checkpoints of this training and nothing else.
    every : str or int, default "5m"
        Time or number of steps between two: ``"90s"``, ``"5m"``, ``"1h"``; ``500`` or ``"500"``
        for steps. By time they take 5 % of the time at most, however large they are.
    about : mapping of str to values of JSON
        What a training must have in common with the one that it goes on with: settings, seed,
        data, versions.

    Examples
    --------
    >>> Checkpoint("run.training", every="90s").seconds, Checkpoint("c", every=500).steps
    (90.0, 500)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: str | int = "5m",
        *,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.seconds, self.steps = _interval(every)
        # through JSON once, so that it compares equal to what is read back
        self.about: dict[str, Any] = json.loads(json.dumps(dict(about or {})))
        self.cost = 0.0
        self.saved_step: int | None = None
        self._last, self._n_since = time.monotonic(), 0

    @contextlib.contextmanager
    def held(self, about: Mapping[str, Any]) -> Iterator[None]:
        """Hold the folder alone, without what a killed process left half written.

        Parameters
        ----------
        about : mapping of str to values of JSON
            More that a training must have in common with the one that it goes on with.

        Raises
        ------
        BlockingIOError
            If another process trains there.
        FileExistsError, OSError
            If the folder holds something else, or cannot be written.
        """
        check_writable(self.folder)
        if self.folder.is_dir() and (others := sorted(set(self._names()) - self._ours())):
            raise FileExistsError(
                f"cannot keep checkpoints in {self.folder}: it holds {others[0]}, which is none "
                "of a training; name a folder that is empty or not there"
            )
        with locked(self.folder):
            self._tidy()
            self._last = time.monotonic()
            self.about |= json.loads(json.dumps({**about, **self.about}))
            try:
                yield
            finally:
                if not self.exists():
                    self.clear()

    def due(self) -> bool:
        """Whether to write one now; called once per step."""
        self._n_since += 1
        if self.steps is not None:
            return self._n_since >= self.steps
        waited = time.monotonic() - self._last
        return waited >= max(self.seconds or 0.0, self.cost / _SHARE)

    def write(self, state: Mapping[str, Any], step: int, *, finished: bool = False) -> bool:
        """Write a state; if that fails, say why, keep the last one and return False."""
        started = time.monotonic()
        try:
            self._write(state, step, finished)
            self.saved_step = step
            self._forget(keep=2)
        except (OSError, TypeError, SafetensorError) as error:
            kept = "there is none so far"
            if self.saved_step is not None:
                kept = f"the last is that of step {self.saved_step:,}"
            logger.warning("no checkpoint of step %s (%s); %s", f"{step:,}", error, kept)
            return False
        finally:
            self._last, self._n_since = time.monotonic(), 0
            self.cost = self._last - started
        return True

    def read(self) -> tuple[dict[str, Any], bool] | None:
        """The last state that is whole, and whether the training had ended; None if none is there.

        Raises
        ------
        ValueError
            If it is of another training, or none is whole; the message says what to do.
        """
        damage = ""
        for path in self._written()[::-1]:
            try:
                document, tensors = _read(path)
            except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
                damage = damage or f"{path} is damaged ({error})"
                continue
            self._refuse_another(document["about"])
            self.saved_step = document["step"]
            if damage:
                logger.warning("%s; the one before is taken", damage)
            return unpack(document["state"], tensors), document["finished"]
        if damage:
            raise ValueError(f"{damage}, and there is no other; {self._remedy()}")
        return None

    def exists(self) -> bool:
        """Whether there is a checkpoint."""
        return bool(self._written())

    def clear(self) -> None:
        """Remove the checkpoints and, if nothing else is in it, the folder."""
        self._forget(keep=0)
        self._tidy()
        for path in (self.folder / LOCK, self.folder):
            with contextlib.suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()

    def discard(self) -> None:
        """As :meth:`clear`, unless another process is using them."""
        with contextlib.suppress(OSError):
            if self.folder.is_dir():
                with locked(self.folder):
                    self.clear()

    def _write(self, state: Mapping[str, Any], step: int, finished: bool) -> None:
        tensors: dict[str, Any] = {}
        packed = pack(dict(state), tensors)
        data = save(tensors)
        content = {
            "step": step,
            "finished": finished,
            "about": self.about,
            "tensors_sha256": hashlib.sha256(data).hexdigest(),
            "state": packed,
        }
        text = json.dumps(content)
        head = {"physgen_checkpoint": FORMAT_VERSION, "sha256": _digest(text)}
        number = max((int(p.name.removeprefix(_PREFIX)) for p in self._written()), default=0) + 1
        with atomic_directory(self.folder / f"{_PREFIX}{number:06}") as folder:
            (folder / TENSORS).write_bytes(data)
            (folder / STATE).write_text(f"{json.dumps(head)}\n{text}\n")

    def _refuse_another(self, about: Mapping[str, Any]) -> None:
        there, here = _flat(about), _flat(self.about)
        names = [n for n in {**there, **here} if there.get(n) != here.get(n)]
        if not names:
            return
        told = (f"{n} ({_short(there.get(n))} there, {_short(here.get(n))} here)" for n in names)
        raise ValueError(
            f"the training in {self.folder} is another one: it differs in {', '.join(told)}; "
            f"repeat the call that it was begun with, or {self._remedy()}"
        )

    def _remedy(self) -> str:
        return f"delete {self.folder} to begin anew, or choose another folder"

    def _names(self) -> list[str]:
        return [path.name for path in self.folder.iterdir()]

    def _ours(self) -> set[str]:
        return {n for n in self._names() if n.lstrip(".").startswith(_PREFIX) or n == LOCK}

    def _written(self) -> list[Path]:
        return sorted(p for p in self.folder.glob(f"{_PREFIX}*") if p.name[-6:].isdecimal())

    def _tidy(self) -> None:
        for path in self.folder.glob(f".{_PREFIX}*"):
            shutil.rmtree(path, ignore_errors=True)

    def _forget(self, *, keep: int) -> None:
        paths = self._written()
        for path in paths[: len(paths) - keep]:
            # renamed first: one that is half removed must not look like a damaged one
            shutil.rmtree(path.rename(path.with_name(f".{path.name}")))


def _interval(every: str | int) -> tuple[float | None, int | None]:
    """Seconds or steps, the other None."""
    try:
        steps = int(every)
    except ValueError:
        time_between = seconds(every)
        if not time_between > 0:
            raise ValueError(
                f"the time between checkpoints must be positive, got {every!r}"
            ) from None
        return time_between, None
    if isinstance(every, bool) or steps < 1 or steps != float(every):
        raise ValueError(
            f"checkpoints are 1 or more steps apart, or a time as '5m', got {every!r}"
        )
    return None, steps


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    head, text = (path / STATE).read_text().splitlines()
    known = json.loads(head)
    if known["physgen_checkpoint"] > FORMAT_VERSION:
        raise ValueError("it was written by a newer physgen; upgrade physgen")
    data = (path / TENSORS).read_bytes()
    document: dict[str, Any] = json.loads(text)
    if known["sha256"] != _digest(text):
        raise ValueError(f"the SHA-256 of {STATE} differs")
    if document["tensors_sha256"] != hashlib.sha256(data).hexdigest():
        raise ValueError(f"the SHA-256 of {TENSORS} differs")
    return document, load(data)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Settings within settings by their names joined with dots."""
    if not isinstance(value, Mapping):
        return {path: value}
    flat: dict[str, Any] = {}
    for name, entry in value.items():
        flat |= _flat(entry, f"{path}.{name}" if path else str(name))
    return flat


def _short(value: Any) -> str:
    """A value in a message, of a digest its first letters."""
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
