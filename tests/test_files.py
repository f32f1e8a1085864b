"""Reading and writing in general: formats, selection, cuts, batches, checks."""

import gzip
import hashlib
import logging
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from physgen.events import Events, concatenate
from physgen.files import describe, iter_events, read_events, write_events
from physgen.files.cuts import Cut
from physgen.schema import Field, Schema, SchemaError

ZMUMU = "data/zmumu.root"


def events_of(n=6):
    return Events.from_dict(
        {
            "pt": np.arange(n, dtype="f4"),
            "small": np.full(n, 100, dtype="i1"),
            "tag": np.arange(n) % 2 == 0,
            "grid": np.ones((n, 2)),
            "Jet_pt": ak.Array([[1.0] * (i % 3) for i in range(n)]),
        }
    )


@pytest.fixture(params=["a.h5", "a.root"])
def path(request, tmp_path):
    write_events(tmp_path / request.param, events_of())
    return tmp_path / request.param


def test_the_sample_data_are_what_their_readme_says():
    text = Path("data/README.md").read_text()
    found = dict(re.findall(r"^([0-9a-f]{64})  (\S+)$", text, flags=re.MULTILINE))
    names = {p.name for p in Path("data").iterdir()} - {"README.md"}
    assert set(found.values()) == names
    for digest, name in found.items():
        assert hashlib.sha256((Path("data") / name).read_bytes()).hexdigest() == digest


def test_importing_loads_no_file_library():
    code = "import sys, physgen.files; print({'uproot', 'awkward', 'h5py'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_unknown_suffix(tmp_path):
    for name in ("a.csv", "a", "ah5", "images.idx"):
        (tmp_path / name).write_text("1")
        with pytest.raises(ValueError, match=f"the format of '{name}'; use a name that ends in"):
            read_events(tmp_path / name)
    with pytest.raises(ValueError, match=r"the format of 'a\.csv'"):
        write_events(tmp_path / "a.csv", events_of())


def test_missing_file_names_near_ones(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data/zmumu\.h5; did you mean 'zmumu\.root'\?"):
        read_events("data/zmumu.h5")
    with pytest.raises(FileNotFoundError, match="has none of a similar name"):
        read_events(tmp_path / "a.h5")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        read_events(tmp_path / "no" / "a.h5")


@pytest.mark.parametrize("name", ["a.h5", "a.root", "a-labels-idx1-ubyte", "run"])
def test_empty_file_and_folder(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"is empty \(0 bytes\)"):
        read_events(tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder, not an event file"):
        describe(tmp_path / name)


def test_content_of_another_format(tmp_path):
    (tmp_path / "a.h5").write_bytes(Path(ZMUMU).read_bytes()[:1000])
    with pytest.raises(
        ValueError, match="is not an HDF5 file as its name says: it is a ROOT file"
    ):
        read_events(tmp_path / "a.h5")
    (tmp_path / "a.root").write_bytes(Path("data/showers.h5").read_bytes()[:1000])
    with pytest.raises(
        ValueError, match="is not a ROOT file as its name says: it is an HDF5 file"
    ):
        read_events(tmp_path / "a.root")
    (tmp_path / "a.root").write_text("pt,eta\n1,2\n")
    with pytest.raises(
        ValueError, match=r"not a ROOT file as its name says: it begins with b'pt,e'"
    ):
        read_events(tmp_path / "a.root")


def test_fields_in_the_order_asked_for(path):
    assert read_events(path, fields=["tag", "pt"]).schema.names == ("tag", "pt")
    assert read_events(path, fields="pt").schema.names == ("pt",)
    assert read_events(path, fields=["?a*", "pt", "tag"]).schema.names == ("tag", "pt")
    assert read_events(path, fields=iter(["pt"])).schema.names == ("pt",)
    with pytest.raises(SchemaError, match=r"no field 'ptt' in .*; did you mean 'pt'"):
        read_events(path, fields=["ptt"])
    with pytest.raises(SchemaError, match=r"no field 'mu_\*'"):
        read_events(path, fields=["mu_*"])
    with pytest.raises(ValueError, match="no columns"):
        read_events(path, fields=[])


def test_units(path):
    events = read_events(path, units={"pt": "GeV"})
    assert events.schema["pt"].label == "pt [GeV]"
    with pytest.raises(SchemaError, match="no field 'px'"):
        read_events(path, units={"px": "GeV"})


@pytest.mark.parametrize("bounds", [(1, 3), (None, 2), (4, None), (-2, None), (3, 100), (0, 6)])
def test_entry_ranges(path, bounds):
    expected = events_of()[slice(*bounds)]
    found = read_events(path, start=bounds[0], stop=bounds[1])
    assert found["pt"].tolist() == expected["pt"].tolist()
    assert found["Jet_pt"].tolist() == expected["Jet_pt"].tolist()
    assert found["grid"].shape == expected["grid"].shape


def test_empty_range(path):
    with pytest.raises(ValueError, match="range from 6 to None holds none of the 6 events of"):
        read_events(path, start=6)


@pytest.mark.parametrize(
    ("cut", "rows"),
    [
        ("pt > 2", [3, 4, 5]),
        ("1 < pt <= 4 and not tag", [3]),
        ("tag or pt == 5", [0, 2, 4, 5]),
        ("(pt > 2) & ~tag | (pt == 0)", None),
        ("(pt > 2) & tag | (pt == 0)", [0, 4]),
        ("abs(pt - 3) < 1.5", [2, 3, 4]),
        ("small + small == 200", [0, 1, 2, 3, 4, 5]),  # int8 would wrap to -56
        ("sqrt(pt) * 2 >= 2**2 / +1", [4, 5]),
        ("pt % 2 == 1 and pt // 2 >= 1", [3, 5]),
        ("-pt > -2", [0, 1]),
        ("hypot(pt, pt) > 2 * pi", [5]),
        ("len(Jet_pt) == 2", [2, 5]),
        ("len(grid) == 2 and pt != 0", [1, 2, 3, 4, 5]),
        ("log(pt) < 0.5", [0, 1]),  # log(0) is no warning
        ("9**9**9 > pt", []),  # wraps or overflows like numbers in a file; and at once
        ("tag ^ (pt > 2)", [0, 2, 3, 5]),
        ("pt > 100", []),
    ],
)
def test_cuts(path, cut, rows):
    if rows is None:
        with pytest.raises(ValueError, match="which cuts do not know"):
            read_events(path, cut=cut)
        return
    found = read_events(path, fields=["pt", "Jet_pt"], cut=cut)
    assert found.schema.names == ("pt", "Jet_pt")
    if cut.startswith("9"):
        return
    assert found["pt"].tolist() == [float(row) for row in rows]
    assert found["Jet_pt"].tolist() == [[1.0] * (row % 3) for row in rows]


@pytest.mark.parametrize(
    ("cut", "error", "message"),
    [
        ("ptt > 3", SchemaError, r"no field 'ptt' in the cut .*did you mean 'pt'"),
        ("pt > 3 && tag", ValueError, r"cannot read the cut .*with and, or, not instead of &&"),
        ("pt > 3 & tag", ValueError, "uses &, . or . between numbers"),
        ("pt + 1", ValueError, "gives numbers; compare them"),
        ("grid > 1", ValueError, r"one answer per event, but gives an array of shape \(6, 2\)"),
        ("Jet_pt > 1", ValueError, r"'Jet_pt' is jagged, .*; use len\(Jet_pt\)"),
        ("sqrt(pt, pt) > 1", ValueError, "gives sqrt 2 arguments; it takes 1"),
        ("1 > 0", ValueError, "must give one answer per event"),
        ("", ValueError, "cannot read the cut"),
        ("pt > 1" + " + 1" * 2000, ValueError, "longer than 4096"),
        ("pt > " + "(" * 1500 + "1" + ")" * 1500, ValueError, "cannot read the cut"),
        ("pt > 99999999999999999999999", ValueError, "is too large"),
        ("pt in (1, 2)", ValueError, "which cuts do not know"),
        ("pt > '3'", ValueError, "which cuts do not know"),
        ("eval(pt) > 1", ValueError, "uses 'eval.pt.', which cuts do not know"),
        ("__import__('os').system('true')", (ValueError, SchemaError), "cut"),
        ("pt.__class__ == pt", SchemaError, "no field 'pt.__class__'"),
        ("[p for p in pt]", (ValueError, SchemaError), "cut"),
        ("(lambda: pt)() > 1", ValueError, "which cuts do not know"),
        ("(pt := 3) > 1", ValueError, "which cuts do not know"),
    ],
)
def test_cuts_that_are_refused(path, cut, error, message):
    with pytest.raises(error, match=message):
        read_events(path, cut=cut)


def test_a_column_with_a_dot_in_a_cut():
    assert Cut("Jet.n > 1", ["Jet.n"])({"Jet.n": np.array([1, 2])}).tolist() == [False, True]


def test_a_function_as_cut(path):
    found = read_events(path, cut=lambda events: ak.any(events["Jet_pt"] > 0, axis=1))
    assert found["pt"].tolist() == [1, 2, 4, 5]
    with pytest.raises(
        ValueError, match=r"one bool per event, shape \(6,\), but returned float32"
    ):
        read_events(path, cut=lambda events: events["pt"])


def with_nan():
    lists = ak.Array([[1.0], [np.inf, 2.0], [], [3.0], [4.0], []])
    pt = np.array([0, 1, np.nan, 3, 4, -np.inf], dtype="f4")
    grid = np.ones((6, 2))
    grid[0, 1] = np.nan
    return Events.from_dict({"pt": pt, "grid": grid, "J": lists, "n": np.arange(6)})


@pytest.mark.parametrize("name", ["a.h5", "a.root"])
def test_numbers_that_are_not_finite(tmp_path, name, caplog):
    path = tmp_path / name
    write_events(path, with_nan())
    with pytest.raises(
        ValueError, match=r"pt in 2, grid in 1, J in 1 of 6 .*first entries of pt: 2, 5"
    ):
        read_events(path)
    with pytest.raises(ValueError, match=r"J in 1 of 5 events \(first entries of J: 1\)"):
        read_events(path, fields=["J"], start=1)
    with pytest.raises(ValueError, match=r"pt in 1 of 3 events \(first entries of pt: 5\)"):
        read_events(path, fields=["pt"], cut="n > 2")  # entries of the file, not of the cut
    assert read_events(path, fields=["pt"], cut="pt < 9 and pt > -9")["pt"].tolist() == [
        0,
        1,
        3,
        4,
    ]
    with caplog.at_level(logging.WARNING):
        found = read_events(path, drop_nonfinite=True)
    assert found["n"].tolist() == [3, 4]
    assert found["J"].tolist() == [[3.0], [4.0]]
    assert "dropped 4 of 6 events" in caplog.text


def test_large_numbers_are_finite(tmp_path):
    """Their squares overflow, which must cost time only."""
    events = Events.from_dict({"x": np.array([3e38, -3e38], dtype="f4")})
    write_events(tmp_path / "a.h5", events)
    assert read_events(tmp_path / "a.h5")["x"].tolist() == events["x"].tolist()


def test_no_events_to_write(path):
    before = path.read_bytes()
    with pytest.raises(ValueError, match="there are no events to write"):
        write_events(path, events_of()[:0])
    assert path.read_bytes() == before


def test_batches_join_to_the_whole(path):
    whole = read_events(path, cut="pt != 2")
    for bound in ("1 B", 100, "0.5 kB", "1 GB"):
        parts = list(iter_events(path, cut="pt != 2", max_memory=bound))
        joined = concatenate(parts)
        assert joined.schema == whole.schema
        assert joined["Jet_pt"].tolist() == whole["Jet_pt"].tolist()
        assert joined["pt"].tolist() == whole["pt"].tolist()
        assert len(parts) == {"1 B": 5, "1 GB": 1}.get(bound, len(parts))
    with pytest.raises(ValueError, match="max_memory='lots' is no size"):
        next(iter_events(path, max_memory="lots"))


def test_batches_of_several_files(tmp_path):
    paths = [tmp_path / "a.root", tmp_path / "b.h5"]
    for path in paths:
        write_events(path, events_of())
    batches = list(iter_events(paths, fields=iter(["pt"]), start=2))
    assert [batch["pt"].tolist() for batch in batches] == [[2, 3, 4, 5]] * 2
    write_events(paths[1], events_of().with_columns({"pt": np.arange(6)}))
    with pytest.raises(SchemaError, match=r"b\.h5 does not continue the files before it: .*'pt'"):
        list(iter_events(paths, fields=["pt"]))


@pytest.mark.parametrize("name", ["a.root", "a.h5"])
def test_batches_keep_their_memory_bound(tmp_path, name):
    n = 200_000
    rng = np.random.default_rng(0)
    counts = rng.poisson(5, n)
    columns = {f"x{i}": rng.normal(size=n) for i in range(8)}
    columns["J"] = ak.unflatten(rng.normal(size=counts.sum()), counts)
    write_events(tmp_path / name, Events.from_dict(columns))  # 21 MB
    list(iter_events(tmp_path / name, max_memory="3 MB", stop=1000))  # imports and caches
    tracemalloc.start()
    total = sum(len(b) for b in iter_events(tmp_path / name, cut="x0 > -9", max_memory="3 MB"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == n
    baskets = 5e5 if name == "a.root" else 0  # unpacked whole, also where a batch ends in one
    assert peak < 3e6 + baskets


def test_description(path):
    found = describe(path)
    assert found.n_events == 6
    assert found.schema == events_of().schema
    text = str(found)
    assert f"{path}: " in text
    assert "6 events, 5 fields" in text
    assert "jagged (Jet)" in text


def idx(values):
    head = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes()
    return head + values.tobytes()


@pytest.mark.parametrize("packed", [False, True])
def test_mnist(tmp_path, packed):
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype="u1")
    suffix = ".gz" if packed else ""
    pack = gzip.compress if packed else bytes
    (tmp_path / f"t-images-idx3-ubyte{suffix}").write_bytes(pack(idx(images)))
    (tmp_path / f"t-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(np.arange(5, dtype="u1"))))
    events = read_events(tmp_path / f"t-images-idx3-ubyte{suffix}")
    assert events.schema == Schema(
        (Field("images", "uint8", shape=(28, 28), description="gray level, 0 to 255"),)
    )
    assert np.array_equal(events["images"], images)
    labels = read_events(tmp_path / f"t-labels-idx1-ubyte{suffix}", start=2)
    assert labels.schema["labels"].allowed == tuple(range(10))
    assert labels["labels"].tolist() == [2, 3, 4]
    again = tmp_path / f"again-images-idx3-ubyte{suffix}"
    write_events(again, events)
    unpack = gzip.decompress if packed else bytes
    assert unpack(again.read_bytes()) == idx(images)
    with pytest.raises(SchemaError, match="holds one field of type uint8, not images, y"):
        write_events(again, events.with_columns({"y": np.ones(5)}))


def test_damaged_mnist(tmp_path):
    content = idx(np.zeros((5, 2, 2), dtype="u1"))
    path = tmp_path / "t-images-idx3-ubyte"
    path.write_bytes(content[:-1])
    with pytest.raises(OSError, match="should hold 5 x 2 x 2 bytes and holds 19"):
        read_events(path)
    path.write_bytes(b"\0\0\x0d\3" + content[4:])
    with pytest.raises(ValueError, match="not an IDX file of unsigned bytes"):
        read_events(path)
    packed = tmp_path / "t-images-idx3-ubyte.gz"
    packed.write_bytes(gzip.compress(content)[:-9])
    with pytest.raises(OSError, match="cannot unpack"):
        read_events(packed)
    packed.write_bytes(content)
    with pytest.raises(OSError, match="cannot unpack"):
        read_events(packed)
    with pytest.raises(ValueError, match="do not belong to the IDX file"):
        read_events(path, tree="Events")
