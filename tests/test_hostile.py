"""Files made to do harm: what each attack must meet, and what honest files may be."""

import gzip
import io
import json
import pickle
import re
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import awkward as ak
import h5py
import numpy as np
import pytest
import uproot

import physgen as pg
from physgen.cli import main
from physgen.files import Binning, describe, iter_events, read_events, write_events
from physgen.files.attributes import _messages, _text, read_attributes
from physgen.files.cuts import Cut
from physgen.files.root import _opened as opened
from physgen.storage import SurrogateFileError

ESCAPE = "\x1b[2J\x1b]0;owned\x07"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.h5"


def bomb(n_megabytes=1024):
    """A stream of deflate: about a kilobyte for every megabyte of zeros."""
    stream = zlib.compressobj(9)
    head = stream.compress(bytes(1 << 20)) + stream.flush(zlib.Z_FULL_FLUSH)
    more = stream.compress(bytes(1 << 20)) + stream.flush(zlib.Z_FULL_FLUSH)
    return head + more * (n_megabytes - 1) + stream.flush()


def with_bomb(path, **filters):
    with h5py.File(path, "w") as file:
        settings = {"dtype": "i4", "compression": "gzip", **filters}
        data = file.create_dataset("x", (1 << 18,), chunks=(1 << 18,), **settings)
        data.id.write_direct_chunk((0,), bomb(), 0)


def with_root_bomb(path, kind, n_bytes=4 * 10**8):
    """A basket of 2 MB in a block that unpacks to many more."""
    compression = getattr(uproot, kind.upper())(1)
    honest = compression.compress
    compression.compress = lambda data: honest(bytes(n_bytes) if len(data) > 10**6 else data)
    with uproot.recreate(path, compression=compression) as file:
        file.mktree("Events", {"x": "f4"})
        file["Events"].extend({"x": np.random.default_rng(0).normal(size=500_000).astype("f4")})


# ---------------------------------------------------------------- memory


FILTERS = [{}, {"shuffle": True}, {"fletcher32": True}, {"scaleoffset": 0}]


@pytest.mark.parametrize("filters", FILTERS)
def test_chunks_that_hold_more_than_they_declare(path, filters):
    with_bomb(path, **filters)
    with pytest.raises(
        OSError,
        match=r"dataset '/x' of .*x.h5.*\((a chunk holds more|the chunk at .* has 1048577)",
    ):
        read_events(path)


@pytest.mark.parametrize("kind", ["zlib", "lzma", "zstd", "lz4"])
def test_blocks_that_hold_more_than_they_declare(tmp_path, kind):
    path = tmp_path / "x.root"
    with_root_bomb(path, kind, 10**7)
    with pytest.raises(OSError, match=r"branch 'x' of .*x.root: the file is damaged"):
        read_events(path)


@pytest.mark.parametrize("kind", ["zlib", "lzma", "zstd", "lz4"])
def test_baskets_that_declare_more_than_the_file_may_take(tmp_path, kind, monkeypatch):
    """A hundred blocks of a kilobyte each make gigabytes."""
    path = tmp_path / "x.root"
    zeros = np.zeros(500_000, "f4")
    with uproot.recreate(path, compression=getattr(uproot, kind.upper())(1)) as file:
        file.mktree("Events", {"x": "f4"})
        file["Events"].extend({"x": zeros})
    np.testing.assert_array_equal(read_events(path)["x"], zeros)
    monkeypatch.setattr("physgen.files.rootbounds.memory_bound", lambda _: 1_500_000)
    with pytest.raises(OSError, match=r"x.root: .*declares 2.0 MB of one basket.*take 1.5 MB"):
        read_events(path)
    with uproot.open(path) as file:  # whom uproot serves as well keep their own bounds
        assert len(file["Events"]["x"].array()) == 500_000


def test_baskets_that_end_before_they_should(tmp_path):
    """The rest would be what stands in memory."""
    path = tmp_path / "x.root"
    write_events(path, pg.Events.from_dict({"x": np.zeros(1000)}))
    with uproot.open(path) as file:
        at = file["Events"]["x"].basket_key(0).fSeekKey
    content = bytearray(path.read_bytes())
    assert struct.unpack_from(">ihi", content, at)[2] == 8000
    struct.pack_into(">i", content, at + 6, 80_000)
    path.write_bytes(content)
    with pytest.raises(OSError, match="its blocks hold 8000 bytes of 80000"):
        read_events(path)


def test_descriptions_of_classes_that_need_themselves(tmp_path):
    """They are not read again and again until Python's recursion ends."""
    path = tmp_path / "x.root"
    write_events(path, pg.Events.from_dict({"x": np.zeros(10)}))
    content = path.read_bytes()
    assert b"TStreamerBase\x00" in content
    path.write_bytes(content.replace(b"TStreamerBase\x00", b"TStreamerBark\x00"))
    with opened(path) as file, pytest.raises(ValueError, match="classes need each other"):
        file.file.streamers  # noqa: B018  (read when asked for)


@pytest.mark.parametrize("n_bytes", [0, -8, 20, 2**62])
def test_frames_of_an_rntuple_lie_one_in_the_other(tmp_path, n_bytes):
    """A record of no bytes could be read four billion times."""
    path = tmp_path / "x.root"
    write_events(path, pg.Events.from_dict({"x": np.zeros(10)}), rntuple=True, compression="none")
    with uproot.open(path) as file:
        anchor = file["Events"]
        at, size = anchor.member("fSeekFooter"), anchor.member("fNBytesFooter")
    content = bytearray(path.read_bytes())
    record = at + content[at : at + size].index(struct.pack("<qI", -60, 1)) + 12
    assert struct.unpack_from("<q", content, record)[0] == 48  # of the only group of clusters
    struct.pack_into("<qIq", content, record - 12, -60, 2**32 - 1, n_bytes)
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"x.root: the file is damaged"):
        read_events(path)


def test_bombs_meet_a_limit_of_memory(tmp_path):
    """All of them in a process that may take 300 MB more than it has."""
    for i, filters in enumerate(FILTERS):
        with_bomb(tmp_path / f"{i}.h5", **filters)
    for kind in ("zlib", "zstd"):
        with_root_bomb(tmp_path / f"{kind}.root", kind)
    head = bytes((0, 0, 8, 3))
    images = head + struct.pack(">3I", 1, 28, 28) + bytes(400_000_000)
    (tmp_path / "a-idx3-ubyte.gz").write_bytes(gzip.compress(images, 1))
    (tmp_path / "b-idx3-ubyte").write_bytes(head + struct.pack(">3I", 2**31, 28, 28))
    (tmp_path / "c-idx3-ubyte").write_bytes(head + struct.pack(">3I", 600_000, 28, 28))
    with h5py.File(tmp_path / "many.h5", "w") as file:
        file["a"] = np.zeros(100_000)
        for i in range(1000):
            file[f"n{i}"] = file["a"]
    script = """
        import resource, sys
        from pathlib import Path
        from physgen.files import read_events, iter_events
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + 300 * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for path in sorted(Path(sys.argv[1]).iterdir()):
            try:
                read_events(path)
            except (OSError, ValueError) as error:
                print(path.name in str(error) and "MemoryError" not in repr(error))
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout.split()) == (0, ["True"] * 10), found.stderr


@pytest.mark.parametrize("shape", [(1 << 18,), (700, 30, 11), (3, 100_000)])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("dtype", ["f4", ">i8", "u1"])
def test_large_chunks_of_honest_files(path, shape, shuffle, dtype):
    """They are unpacked by us, and are what libhdf5 makes of them."""
    values = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    chunks = tuple(max(1, n * 2 // 3) for n in shape)
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, chunks=chunks, compression="gzip", shuffle=shuffle)
    np.testing.assert_array_equal(read_events(path)["x"], values)
    batches = [batch["x"] for batch in iter_events(path, max_memory=values.nbytes)]
    assert len(batches) > 1
    np.testing.assert_array_equal(np.concatenate(batches), values)


def test_large_chunks_of_rows_and_what_no_filter_was_used_for(path):
    rng = np.random.default_rng(0)
    rows = np.zeros(50_000, dtype=[("a", "f8"), ("b", "i2", (2,))])
    rows["a"], rows["b"] = rng.normal(size=50_000), rng.integers(0, 99, (50_000, 2))
    with h5py.File(path, "w") as file:
        data = file.create_dataset("r", data=rows, chunks=(20_000,), compression="gzip")
        data.id.write_direct_chunk((20_000,), rows[20_000:40_000].tobytes(), 1)  # stored as it is
    found = read_events(path)
    np.testing.assert_array_equal(found["a"], rows["a"])
    np.testing.assert_array_equal(found["b"], rows["b"])


def test_sparse_files_are_read_and_sparser_ones_when_asked_for(path):
    """A column of 100 MB in 100 kB is nothing to stop at; one of 1 GB is asked about."""
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "x", data=np.zeros(25_000_000, "f4"), chunks=1 << 20, compression="gzip"
        )
    assert path.stat().st_size < 200_000
    assert len(read_events(path)) == 25_000_000
    with pytest.raises(ValueError, match=r"declares 100 MB of .* may take 50.0 MB.*max_memory="):
        read_events(path, max_memory="50 MB")
    assert len(read_events(path, max_memory="50 MB", stop=1_000_000)) == 1_000_000


def test_filters_that_contradict_each_other(path):
    """Packed twice, a small chunk unpacks to anything."""
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((100,))
        for _ in range(2):
            properties.set_filter(h5py.h5z.FILTER_DEFLATE, h5py.h5z.FLAG_OPTIONAL, (4,))
        space = h5py.h5s.create_simple((100,))
        made = h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_DOUBLE, space, properties)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(100.0))
    with pytest.raises(OSError, match=r"compression of dataset '/x' of .* contradicts its shape"):
        read_events(path)


def test_declared_sizes(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (2**40,), dtype="f8")
    with pytest.raises(
        OSError, match=r"'/x' of .* declares the shape .* not all of it was written"
    ):
        read_events(path)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", (10,), "f4", maxshape=(None,), chunks=(1 << 27,))
        data.id.write_direct_chunk((0,), b"x", 0)
    with pytest.raises(OSError, match=r"chunks of 537 MB, .* up to 500 MB"):
        read_events(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (2**40, 0), dtype="f8")
    with pytest.raises(ValueError, match=r"which holds no values"):
        read_events(path)


@pytest.mark.parametrize("sizes", [(2**31, 0), (0,), (2**32 - 1,) * 4])
def test_idx_sizes(tmp_path, sizes):
    path = tmp_path / "x-idx3-ubyte"
    path.write_bytes(bytes((0, 0, 8, len(sizes))) + struct.pack(f">{len(sizes)}I", *sizes))
    with pytest.raises((OSError, ValueError), match=r"x-idx3-ubyte .*copy it again"):
        list(iter_events(path, max_memory="2 kB"))
    path.write_bytes(bytes((0, 0, 8, 3, 0, 0)))
    with pytest.raises(OSError, match=r"x-idx3-ubyte should hold its sizes"):
        read_events(path)


# ---------------------------------------------------------------- texts of HDF5


def damaged_heap(path, old, new, where):
    content = path.read_bytes()
    at = content.index(b"GCOL") + where
    assert content[at : at + len(old)] == old
    path.write_bytes(content[:at] + new + content[at + len(old) :])


def test_a_heap_that_makes_libhdf5_step_on_the_spot(path):
    """h5py 3.16 with HDF5 2.0 never comes back from this attribute."""
    with h5py.File(path, "w") as file:
        file["x"], file.attrs["text"] = np.arange(3), "abc"
    assert read_events(path).schema.conventions == {"text": "abc"}
    # the first object becomes free space of no bytes
    damaged_heap(path, b"\1", b"\0", 16)
    damaged_heap(path, b"\3", b"\0", 24)
    with pytest.raises(OSError, match=r"cannot read its attributes of .* has no text 1"):
        read_events(path)


def test_a_text_of_no_known_kind(path):
    """The same versions end the process here."""
    write_events(path, pg.Events.from_dict({"x": np.arange(3)}))
    content = bytearray(path.read_bytes())
    at = content.index(b"\x19\1\1\0", content.index(b"physgen_schema"))
    content[at + 1] = 0x94
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"cannot read the schema of .*physgen_schema"):
        read_events(path)


def test_a_reference_to_a_text_that_is_not_there(path):
    write_events(path, pg.Events.from_dict({"x": np.arange(3)}))
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    at = content.index(struct.pack("<QI", heap, 1))
    content[at + 8] = 200
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"cannot read its attributes of .* has no text 200"):
        read_events(path)


@pytest.mark.parametrize("settings", [{}, {"libver": "latest"}, {"track_order": True}])
def test_attributes_are_those_of_h5py(path, settings):
    wanted = {"a": "é" * 40, "empty": "", "big": "y" * 100_000, "n": 3, "f": 2.5, "b": True}
    with h5py.File(path, "w", **settings) as file:
        file.attrs.update(wanted)
        file.attrs["list"] = ["a", "b"]
    with h5py.File(path) as file:
        assert read_attributes(file, path) == wanted


def test_a_name_that_is_no_text_is_left_out(path):
    with h5py.File(path, "w") as file:
        file.attrs["a"] = 1
        space = h5py.h5s.create(h5py.h5s.SCALAR)
        h5py.h5a.create(file.id, b"\xff\xfe", h5py.h5t.NATIVE_INT32, space)
    with h5py.File(path) as file:
        assert read_attributes(file, path) == {"a": 1}


def heap(*objects):
    """A collection of texts: (number, bytes that it declares, content)."""
    content = b"".join(
        struct.pack("<HHIQ", number, 1, 0, size) + text.ljust(-(-size // 8) * 8, b"\0")
        for number, size, text in objects
    )
    return b"GCOL\x01\0\0\0" + struct.pack("<Q", 16 + len(content)) + content


@pytest.mark.parametrize(
    ("content", "reference", "words"),
    [
        (heap((2, 4, b"text")), (4, 0, 1), "has no text 1 of 4 bytes"),  # its end without a 0
        (heap((1, 2, b"no")), (4, 0, 1), "has no text 1 of 4 bytes"),
        (heap((0, 8, b""), (1, 4, b"text")), (4, 0, 1), "has no text 1 of 4 bytes"),
        (heap((1, 4, b"text")), (4, 9, 1), "no heap of texts at byte 9"),
        (b"GCOL", (4, 0, 1), "16 bytes at byte 0 go beyond the end"),
        (heap((1, 1 << 25, b""))[:40], (1 << 25, 0, 1), "33554432 bytes at byte 32 are too many"),
    ],
)
def test_heaps_of_texts_that_lie(content, reference, words):
    assert _text(io.BytesIO(heap((3, 1, b"x"), (1, 4, b"text"))), (4, 0, 1)) == "text"
    with pytest.raises(ValueError, match=words):
        _text(io.BytesIO(content), reference)


def test_an_object_header_without_an_end():
    """A message that says "go on there", of the block in which it is itself."""
    again = struct.pack("<HHBxxxQQ", 0x10, 16, 0, 16, 24)
    header = struct.pack("<BxHII4x", 1, 1, 1, 24) + again
    with pytest.raises(ValueError, match="does not come to an end"):
        list(_messages(io.BytesIO(header), 0))


# ---------------------------------------------------------------- links and names


def test_links_loops_and_names(path):
    with h5py.File(path, "w") as file:
        file["a"] = np.arange(3.0)
        file["external"] = h5py.ExternalLink("/etc/passwd" + ESCAPE, "/x")
        file["soft"], file["nowhere"] = h5py.SoftLink("/a"), h5py.SoftLink("/b/../c")
        file.create_dataset("raw", (3,), dtype="u1", external=[("/etc/passwd", 0, 3)])
        layout = h5py.VirtualLayout((3,), dtype="f8")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", (3,))
        file.create_virtual_dataset("virtual", layout)
        group = file.create_group("g")
        group["loop"], group["root"] = group, file["/"]
        file["references"] = np.array([file["a"].ref] * 3, dtype=h5py.ref_dtype)
        file[ESCAPE], file["n" * 30_000] = np.arange(3.0), np.arange(3.0)
        deep = file
        for _ in range(200):
            deep = deep.create_group("d")
        deep["x"] = np.arange(3.0)
    assert read_events(path).schema.names == ("a",)
    text = str(describe(path))
    assert text.isprintable() or "\x1b" not in text
    assert all(len(line) < 400 for line in text.split("\n"))
    for words in (
        "left out external: a link to another file",
        "raw: its values are in another file",
        "virtual: its values",
        "soft: a second name of /a",
        "references: type list or reference",
        "groups deep",
        "a name with control characters",
        "a name of 30,000 characters",
    ):
        assert words in text


def test_texts_that_a_terminal_would_obey(path, capsys, tmp_path):
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(3.0)
        file.attrs["note"], file.attrs[ESCAPE] = ESCAPE, 1
    assert main(["info", str(path)]) == 0
    with h5py.File(path, "w") as file:
        file.attrs["physgen_format"], file.attrs["physgen_schema"] = (
            1,
            json.dumps({"fields": [{"name": ESCAPE, ESCAPE: 1}]}),
        )
    assert main(["info", str(path)]) == 1
    (tmp_path / "b.xml").write_text(
        "<Bins><Bin name='a'><Layer id='&#155;2J' r_edges='\u202e,1'/></Bin></Bins>"
    )
    with pytest.raises(ValueError, match=r"b.xml is not a binning .*\\u202e"):
        Binning.from_xml(tmp_path / "b.xml")
    assert main(["train", str(tmp_path / f"{ESCAPE}.h5"), "-o", str(tmp_path / "run")]) == 1
    shown = "".join(capsys.readouterr())
    assert "\\x1b[2J" in shown
    assert not re.search("[\x1b\x07\x9b]", shown)


def test_fields_must_be_printable():
    with pytest.raises(pg.SchemaError, match=r"must be printable"):
        pg.Field("pt\x1b[2J")
    with pytest.raises(pg.SchemaError, match=r"no field 'a' \(fields: n0, .* and 19,900 more\)"):
        pg.Schema(tuple(pg.Field(f"n{i}") for i in range(20_000)))["a"]


# ---------------------------------------------------------------- offsets


@pytest.mark.parametrize(
    "offsets", [[0, 2, 1, 4], [0, 2, 3, 2**40], [-1, 2, 3, 4], [-(2**60), 2, 3, 4], [3, 2, 1, 0]]
)
def test_offsets_of_lists(path, offsets):
    write_events(path, pg.Events.from_dict({"J": ak.Array([[1.0, 2.0], [3.0], [4.0]])}))
    with h5py.File(path, "r+") as file:
        file["J/offsets"][:] = offsets
    for read in (read_events, lambda p: list(iter_events(p, max_memory="1 kB"))):
        with pytest.raises((OSError, ValueError), match=r"x.h5"):
            read(path)


def test_lists_of_root_that_end_before_they_begin(tmp_path, monkeypatch):
    path = tmp_path / "x.root"
    write_events(path, pg.Events.from_dict({"J": ak.Array([[1.0, 2.0], [3.0], [4.0]])}))
    layout = ak.contents.ListOffsetArray(
        ak.index.Index64(np.array([0, 2, 1, 4])), ak.contents.NumpyArray(np.arange(4.0))
    )
    monkeypatch.setattr(uproot.TBranch, "array", lambda *_, **__: ak.Array(layout))
    with pytest.raises(OSError, match=r"x.root.* end before they begin"):
        read_events(path)


# ---------------------------------------------------------------- surrogates


@pytest.fixture
def run(tmp_path):
    truth = pg.Events.from_dict({"x": np.random.default_rng(0).normal(size=100)})
    model = pg.Diffusion(n_hidden=4, n_blocks=1, n_sampling_steps=2)
    pg.Surrogate.fit(truth, model, steps=1, rng=0).save(tmp_path / "run")
    return tmp_path / "run"


def sign(run, weights=None, **changes):
    """Write the folder as an attacker would: with the checksums that belong to it."""
    sys.path.insert(0, str(Path(__file__).parent / "fuzzing"))
    import seeds

    document = json.loads((run / "surrogate.json").read_text())
    weights = (run / "weights.safetensors").read_bytes() if weights is None else weights
    document["model"] |= changes
    (run / "weights.safetensors").write_bytes(weights)
    (run / "surrogate.json").write_text(seeds.signed(document, weights))


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code was run')",))


@pytest.mark.parametrize(
    "weights",
    [
        pickle.dumps(Evil()),
        b"",
        struct.pack("<Q", 2**60),
        struct.pack("<Q", 2**63) + b"{}",
        b"\x80\x02" * 40,
    ],
)
def test_weights_that_are_none(run, weights):
    sign(run, weights)
    with pytest.raises(SurrogateFileError, match=r"weights.safetensors is damaged"):
        pg.Surrogate.load(run)


@pytest.mark.parametrize(
    "changes", [{"n_hidden": 10**6}, {"n_blocks": 10**9}, {"n_hidden": 10**12}]
)
def test_networks_far_larger_than_their_weights(run, changes):
    sign(run)
    pg.Surrogate.load(run)
    sign(run, **changes)
    with pytest.raises(SurrogateFileError, match=r"run does not describe a surrogate"):
        pg.Surrogate.load(run)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10**6,
        '{"a":' * 10**5,
        "9" * 10**6,
        '{"physgen_surrogate": 1' + "0" * 5000 + "}",
        "\ufeff{}",
        '{"physgen_surrogate": 7, "info": 3}',
        '{"physgen_surrogate": 1, "a": NaN, "a": 1}',
        "null",
    ],
)
def test_descriptions_that_are_none(run, text):
    (run / "surrogate.json").write_text(text)
    with pytest.raises(SurrogateFileError, match=r"run"):
        pg.Surrogate.load(run)


# ---------------------------------------------------------------- XML and cuts


ENTITIES = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(9))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'<!DOCTYPE b [<!ENTITY e0 "x">{ENTITIES}]><Bins>&e9;</Bins>', "document type"),
        (
            '<!DOCTYPE b [<!ENTITY e SYSTEM "file:///etc/passwd">]><Bins>&e;</Bins>',
            "document type",
        ),
        (
            '<a><Bin name="a&#155;2J"><Layer id="0" r_edges="0,1" n_bin_alpha="1"/></Bin></a>',
            "a particle has a name with control characters",
        ),
        ("<a>" * 300_000, "no element found"),
        ("<a>" * 10**6, "too long"),
        (
            '<Bins><Bin name="a"><Layer id="0" r_edges="0,1e999" n_bin_alpha="1"/></Bin></Bins>',
            "inf",
        ),
        (
            '<Bins><Bin name="a"><Layer id="0" r_edges="0,nan" n_bin_alpha="1"/></Bin></Bins>',
            "nan",
        ),
        (
            f'<Bins><Bin><Layer id="0" r_edges="0,1" n_bin_alpha="{"9" * 5000}"/></Bin></Bins>',
            "limit",
        ),
    ],
)
def test_binnings(tmp_path, text, words):
    (tmp_path / "b.xml").write_text(text)
    with pytest.raises(ValueError, match=rf"b.xml is not a binning .*{words}"):
        Binning.from_xml(tmp_path / "b.xml")
    for encoding in ("utf-16", "utf-7"):
        (tmp_path / "b.xml").write_bytes(text.encode(encoding))
        with pytest.raises(ValueError, match=r"b.xml is not a binning"):
            Binning.from_xml(tmp_path / "b.xml")


@pytest.mark.parametrize(
    "cut",
    [
        "__import__('os').system('true') > 0",
        "open('x') > 0",
        "'a' * 10**10 == x",
        "len(pi) > 1",
        "x ** -n > image",
        "n ** -1 > 0",
        "-" * 4000 + "x > 1",
        "not " * 900 + "x > 1",
        "+".join("x" * 1500) + " > 1",
        "x" * 5000,
        "~tag",
        "-tag",
        "[x for x in x]",
        "x.__class__ > 1",
        "9" * 4000 + " > x",
        "(lambda: x)() > 1",
        "\x1b[2J",
        "x if x else x",
        "x\x00",
    ],
)
def test_cuts_that_mean_harm(cut):
    columns = {"x": np.arange(3.0), "n": np.arange(3), "tag": np.array([True] * 3)}
    columns["image"] = np.zeros((3, 5, 5))
    with pytest.raises((ValueError, pg.SchemaError), match=r"the cut") as error:
        Cut(cut, tuple(columns))(columns)
    assert len(str(error.value)) < 1000
    assert str(error.value).isprintable()


def test_powers_are_those_of_floats_or_wrap_around():
    """Python would compute for hours and fill the memory."""
    assert not Cut("9 ** 9 ** 9 > x", ["x"])({"x": np.arange(3.0)}).any()
