"""What is attacked: for each reader a stream of inputs and the call that must survive them."""

import copy
import gzip
import json
import os
import random
import struct
import warnings
from pathlib import Path

import mutators
import numpy as np
import seeds

import physgen as pg
from physgen.files import Binning, describe, iter_events, read_events
from physgen.files.cuts import Cut
from physgen.lectures.mnist import mnist

PACKAGE = str(Path(pg.__file__).parent)
CLEAR = (OSError, FileNotFoundError, IsADirectoryError, ValueError)
MAX_MESSAGE = 6000


class _Files:
    """A reader of one file; the input is its content."""

    def __init__(self, folder, name, content):
        self.path = Path(folder, name)
        self.where = str(self.path)
        self.mutate = mutators.Bytes(content)
        self.valid = content

    def input(self, rng):
        return self.mutate(rng)

    def read(self, content, rng):
        with open(self.path, "wb") as file:
            file.write(content)
        self.call(rng)

    def call(self, rng):
        kind = rng.randrange(8)
        if kind == 0:
            _printable(str(describe(self.path)))
        elif kind == 1:
            list(iter_events(self.path, max_memory="2 kB"))
        else:
            _whole(read_events(self.path))


class Idx(_Files):
    """IDX, packed or not; half of the inputs are made by hand around the header."""

    def input(self, rng):
        if rng.random() < 0.5:
            return self.mutate(rng)
        sizes = [
            rng.choice((0, 1, 2, 12, 2**16, 2**31, 2**32 - 1)) for _ in range(rng.randrange(6))
        ]
        body = bytes(rng.choice((0, 1, 12, 108)))
        made = (
            bytes((0, 0, 8, len(sizes) + rng.choice((0, 0, 0, 1, 200))))
            + struct.pack(f">{len(sizes)}I", *sizes)
            + body
        )
        return gzip.compress(made, 1, mtime=0) if rng.random() < 0.3 else made

    def read(self, content, rng):
        self.path = self.packed if content[:2] == b"\x1f\x8b" or rng.random() < 0.02 else self.bare
        self.where = str(self.path)
        super().read(content, rng)

    def __init__(self, folder):
        super().__init__(folder, "x-idx3-ubyte", seeds.idx())
        self.bare, self.packed = self.path, Path(folder, "x-idx3-ubyte.gz")


class Mnist(Idx):
    """The lecture's reader: images that are no images, labels that are right."""

    def __init__(self, folder):
        super().__init__(folder)
        self.bare = Path(folder, "t10k-images-idx3-ubyte")
        self.packed = Path(folder, "t10k-images-idx3-ubyte.gz")
        Path(folder, "t10k-labels-idx1-ubyte").write_bytes(seeds.idx()[1])

    def read(self, content, rng):
        for path in (self.bare, self.packed):
            path.unlink(missing_ok=True)
        super().read(content, rng)

    def call(self, rng):
        mnist("test", self.path.parent, download=False)


class Hdf5(_Files):
    """HDF5 in all layouts."""

    def __init__(self, folder):
        super().__init__(folder, "x.h5", seeds.hdf5())


class Root(_Files):
    """TTree and RNTuple."""

    def __init__(self, folder):
        super().__init__(folder, "x.root", seeds.root())


class Xml(_Files):
    """Binning files: bytes and words."""

    words = (
        "<",
        ">",
        "/>",
        '"',
        "&amp;",
        "&#0;",
        "&x;",
        "<!DOCTYPE a [<!ENTITY b 'c'>]>",
        "<Bin>",
        "</Bin>",
        "<Layer ",
        "nan",
        "inf",
        "-",
        ",",
        "1e999",
        "9" * 4500,
        "0x10",
        "\x1b[2J",
        "\x00",
        "<?xml version='1.0' encoding='utf-16'?>",
        "<![CDATA[",
        "]]>",
        "<a>" * 200,
        "1_0",
        "٣",
        "r_edges=",
        " id='1'",
        "1e-320",
    )

    def __init__(self, folder):
        super().__init__(folder, "x.xml", seeds.binnings())
        self.damage = mutators.of_text(self.words)

    def input(self, rng):
        if rng.random() < 0.3:
            return self.mutate(rng)
        return self.damage(rng.choice(self.valid).decode(), rng).encode()

    def call(self, rng):
        found = Binning.from_xml(self.path, n_voxels=rng.choice((None, None, 18)))
        found.layer_slices, found.n_voxels, found.to_xml()


class Cuts:
    """Cut expressions over a few columns."""

    valid = seeds.CUTS
    words = (
        *r"""
        + - * / // % ** < <= > >= == != & | ^ ~ << >> @ ( ) [ ] { } , : := . ; = \ # ' "
        pt eta n tag big jet.pt image Jet_pt pi nope len abs hypot maximum isfinite exp
        0 9 1e999 1j 9**9**9 None True ... pt.__class__ open('x') f'{pt}' len(nope) len(pi)
        __import__('os').system('true') abs(*pt) abs(x=pt) len(image) é １
        """.split(),  # noqa: SIM905  (80 quoted words would hide what they are)
        *(f" {w} " for w in "and or not in is if else lambda await yield import".split()),  # noqa: SIM905
        "0x" + "f" * 40,
        "9" * 4000,
        "'a' * 9**9",
        "[i for i in pt]",
        "(" * 90,
        "not " * 300,
        "-" * 300,
        "\n",
        "\x00",
        "\x1b[2J",
        "\ud800",
    )

    def __init__(self, folder):
        self.where = "cut"
        self.damage = mutators.of_text(self.words)

    def input(self, rng):
        kind = rng.random()
        if kind < 0.4:
            return self.damage(rng.choice(self.valid), rng)
        if kind < 0.8:
            return self._expression(rng, 4)
        return " ".join(rng.choice(self.words) for _ in range(rng.randrange(1, 8)))

    def _expression(self, rng, depth):
        """A sentence of the grammar, which may still mean nothing."""
        if depth == 0 or rng.random() < 0.2:
            return rng.choice(
                (
                    "pt",
                    "eta",
                    "n",
                    "tag",
                    "big",
                    "jet.pt",
                    "len(Jet_pt)",
                    "pi",
                    "2",
                    "0",
                    "-1",
                    "1e300",
                    "image",
                )
            )
        parts = [self._expression(rng, depth - 1) for _ in range(2)]
        form = rng.choice(
            (
                "({} < {})",
                "({} >= {})",
                "({} and {})",
                "({} or not {})",
                "{} + {}",
                "{} ** {}",
                "{} // {}",
                "{} % {}",
                "({}) & ({})",
                "abs({}) > {}",
                "hypot({}, {})",
                "-{} == {}",
            )
        )
        return form.format(*parts)

    def read(self, text, rng):
        mask = Cut(text, tuple(seeds.CUT_COLUMNS))(seeds.CUT_COLUMNS)
        if mask.shape != (seeds.N,) or mask.dtype != bool:
            raise RuntimeError(f"the mask has shape {mask.shape} and type {mask.dtype}")


class Surrogates:
    """Folders with the right checksums and wrong content, and folders with damaged bytes."""

    def __init__(self, folder):
        self.folder = Path(folder, "run")
        self.folder.mkdir(exist_ok=True)
        self.where = str(self.folder)
        self.found = seeds.surrogates()
        self.valid = [(seeds.signed(d, w).encode("utf-8", "replace"), w) for d, w in self.found]
        self.texts = mutators.Bytes([text for text, _ in self.valid])
        self.weights = mutators.Bytes([w for _, w in self.found])

    def input(self, rng):
        document, weights = rng.choice(self.found)
        kind = rng.randrange(8)
        if kind == 0:
            return self.texts(rng), weights
        if kind < 3:
            damaged = self.weights(rng)
            return seeds.signed(document, damaged).encode(), damaged
        tree = copy.deepcopy(document)
        for _ in range(rng.choice((1, 1, 2, 3))):
            tree = mutators.damaged_tree(tree, rng)
        tree = tree if isinstance(tree, dict) else {}
        return seeds.signed(tree, weights).encode("utf-8", "surrogatepass"), weights

    def read(self, content, rng):
        for name, part in zip(("surrogate.json", "weights.safetensors"), content, strict=True):
            (self.folder / name).write_bytes(part)
        loaded = pg.Surrogate.load(self.folder)
        _printable(repr(loaded))


class Json:
    """surrogate.json as text, up to the checksum: nested, doubled, huge."""

    words = (
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        '"',
        "null",
        "true",
        "NaN",
        "Infinity",
        "1e999",
        "9" * 4400,
        "-",
        "0",
        "\\u0000",
        "\\ud800",
        "[" * 2000,
        '{"a":' * 1500,
        '"physgen_surrogate": 1,',
        '"info": 3,',
        '"physgen_surrogate": 7,',
        "\x00",
        "\x1b[2J",
        "é",
        '"physgen_surrogate": 1e5,',
    )

    def __init__(self, folder):
        self.folder = Path(folder, "json")
        self.folder.mkdir(exist_ok=True)
        self.where = str(self.folder)
        document = {
            "schema": {"fields": [{"name": "x", "allowed": [1]}]},
            "info": {"versions": {"physgen": "0"}},
            "a": [1.5, None],
        }
        self.valid = [seeds.signed(document, b"").encode()]
        self.damage = mutators.of_text(self.words)

    def input(self, rng):
        return self.damage(self.valid[0].decode(), rng).encode()

    def read(self, content, rng):
        (self.folder / "surrogate.json").write_bytes(content)
        (self.folder / "weights.safetensors").write_bytes(b"")
        pg.Surrogate.load(self.folder)


READERS = {
    "cuts": Cuts,
    "idx": Idx,
    "mnist": Mnist,
    "xml": Xml,
    "json": Json,
    "hdf5": Hdf5,
    "root": Root,
    "surrogate": Surrogates,
}


def generator(seed, reader, index):
    """The random numbers of one input: any input can be made again by its number."""
    return random.Random(f"{seed}/{reader}/{index}")


def verdict(reader, content, rng):
    """ "read", "refused", or what is wrong with how the reader took the input."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(content, rng)
    except MemoryError as error:
        return f"memory: {error!r}"
    except Exception as error:
        return _judged(error, reader.where)
    return "read"


def _judged(error, where):
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    text = str(error)
    origin = trace.tb_frame.f_code.co_filename
    if not _is_clear(type(error)) or not origin.startswith(PACKAGE):
        return f"raw: {type(error).__name__} from {origin}: {text[:300]!r}"
    if where not in text:
        return f"says no place: {text[:300]!r}"
    if not _is_printable(text):
        return f"control characters: {text[:300]!r}"
    if len(text) > MAX_MESSAGE:
        return f"too long: {len(text)} characters: {text[:200]!r}"
    return "refused"


def _is_clear(kind):
    """One of the kinds that are documented, not a relative of theirs from a library."""
    return kind in CLEAR or (issubclass(kind, CLEAR) and kind.__module__.startswith("physgen."))


def _is_printable(text):
    return all(c.isprintable() or c == "\n" for c in text)


def _printable(text):
    if not _is_printable(text):
        raise RuntimeError(f"control characters in the output: {text!r}")


def _whole(events):
    """What was read can be looked at."""
    for field in events.schema:
        np.asarray(events.multiplicity(field.name) if field.jagged else events[field.name]).sum()
        _printable(field.label)
    len(events), os.fspath("."), json.dumps(list(events.schema.names))
