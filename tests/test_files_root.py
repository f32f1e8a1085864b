"""ROOT files: round trips to the bit, foreign branches, trees, damage."""

import dataclasses
import json
import logging
import shutil
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from physgen.events import Events
from physgen.files import describe, iter_events, read_events, write_events
from physgen.files.reading import open_file
from physgen.schema import Field, Schema, SchemaError

FOREIGN = Path(__file__).parent / "test_files_data"
DTYPES = "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float32 float64".split()  # noqa: SIM905
KINDS = pytest.mark.parametrize("rntuple", [False, True], ids=["ttree", "rntuple"])


def bits(array):
    """Bytes of an array, so that NaN payloads and the sign of zero count."""
    if not isinstance(array, np.ndarray):
        counts = ak.num(array, axis=1).to_list()
        return counts, bits(ak.flatten(array).to_numpy())
    return array.dtype.name, array.shape, np.ascontiguousarray(array).tobytes()


def assert_same(found, events):
    assert found.schema == events.schema
    for name in events.schema.names:
        assert bits(found[name]) == bits(events[name]), name


def read_all(path, schema):
    """Read past the refusal of NaNs, which are part of the round trip."""
    with open_file(path) as source:
        n = source.columns[schema.names[0]].n_events
        assert source.schema(tuple(source.columns)) == schema
        return {name: source[name].read(0, n) for name in source.columns}


def example():
    """All types, flat, fixed shape and jagged, with the values that break careless code."""
    rng = np.random.default_rng(0)
    counts = np.array([0, 3, 0, 1, 2, 0])
    columns, fields = {}, []
    for dtype in DTYPES:
        values = rng.integers(0, 255, (6, 64), dtype="u1").view(dtype if dtype != "bool" else "u1")
        values = values % 2 == 0 if dtype == "bool" else values
        columns |= {
            f"flat_{dtype}": values[:, 0],
            f"grid_{dtype}": values[:, :6].reshape(6, 3, 2) if values.shape[1] > 6 else values,
            f"Hit_{dtype}": ak.unflatten(values.reshape(-1)[: counts.sum()], counts),
        }
        grid = columns[f"grid_{dtype}"].shape[1:]
        fields += [
            Field(f"flat_{dtype}", dtype, unit="GeV", description="a number"),
            Field(f"grid_{dtype}", dtype, shape=grid),
            Field(f"Hit_{dtype}", dtype, jagged=True, collection="Hit"),
        ]
    payload = np.array([0x7FF8DEADBEEF0001, 0xFFF0000000000001, 1 << 63, 1, 0x7FF0 << 48, 0], "u8")
    columns |= {"odd": payload.view("f8"), "weight": np.array([1.0, -1.0, 0.5, -2.0, 1.0, 3.0])}
    columns |= {"charge": np.array([-1, 1, 1, -1, 1, 1], dtype="i1")}
    fields += [
        Field("odd", "float64"),
        Field("weight", "float64", role="weight"),
        Field("charge", "int8", allowed=(-1, 1), role="condition"),
    ]
    return Events(Schema(tuple(fields), {"spin_up": "+1", "note": "déjà vu \n <&>"}), columns)


@KINDS
def test_all_types_round_trip_to_the_bit(tmp_path, rntuple):
    events = example()
    write_events(tmp_path / "a.root", events, rntuple=rntuple)
    found = read_all(tmp_path / "a.root", events.schema)
    for name in events.schema.names:
        assert bits(found[name]) == bits(events[name]), name


@KINDS
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_events_round_trip(tmp_path, rntuple, data):
    n_events = data.draw(st.integers(1, 7))
    counts = data.draw(hnp.arrays("i8", n_events, elements=st.integers(0, 3)))
    dtype, other = data.draw(st.sampled_from(DTYPES)), data.draw(st.sampled_from(DTYPES))
    plain = {"allow_nan": False, "allow_infinity": False}

    def values(kind, shape):
        elements = plain if np.dtype(kind).kind == "f" else None
        return data.draw(hnp.arrays(kind, shape, elements=elements))

    shape = data.draw(st.sampled_from([(), (1,), (2, 3)]))
    events = Events.from_dict(
        {
            "x": values(dtype, (n_events, *shape)),
            "J_a": ak.unflatten(values(other, int(counts.sum())), counts),
            "J_b": ak.unflatten(values(dtype, int(counts.sum())), counts),
            "lone": ak.unflatten(values(other, n_events), np.ones(n_events, dtype=int)),
        }
    )
    write_events(tmp_path / "a.root", events, rntuple=rntuple)
    assert_same(read_events(tmp_path / "a.root"), events)


@KINDS
def test_zmumu_round_trip_in_many_baskets(tmp_path, rntuple):
    events = read_events("data/zmumu.root", units={"mll": "GeV"})
    write_events(tmp_path / "z.root", events, rntuple=rntuple)
    assert_same(read_events(tmp_path / "z.root"), events)
    part = read_events(tmp_path / "z.root", start=24_990, stop=50_010)
    assert_same(part, events[24_990:50_010])
    if not rntuple:
        with uproot.open(tmp_path / "z.root") as file:
            assert file.file.compression == uproot.ZSTD(5)
            branches = {b.name: b for b in file["Events"].branches}
        assert sum(name.startswith("n") for name in branches) == 2  # njet, and one counter
        assert branches["Jet_pt"].count_branch.name == branches["Jet_eta"].count_branch.name
        for branch in branches.values():
            assert branch.compressed_bytes < branch.uncompressed_bytes
            assert branch.uncompressed_bytes / branch.num_baskets >= 100_000


def test_other_programs_see_just_the_tree(tmp_path):
    events = example()
    write_events(tmp_path / "a.root", events, tree="mc")
    with uproot.open(tmp_path / "a.root") as file:
        assert file.classnames() == {"mc;1": "TTree", "mc_physgen;1": "TObjString"}
        assert file["mc"].num_entries == len(events)


def test_wide_events_make_small_chunks(tmp_path):
    """A grid beside a flag: 100 kB of flags would be 5 GB of grid."""
    events = Events.from_dict(
        {"flag": np.zeros(3000, dtype=bool), "grid": np.ones((3000, 6480), dtype="f4")}
    )
    write_events(tmp_path / "a.root", events, compression="lz4")
    with uproot.open(tmp_path / "a.root") as file:
        branch = file["Events"]["grid"]
        assert branch.num_baskets == 2
        assert file.file.compression == uproot.LZ4(4)
    assert_same(read_events(tmp_path / "a.root"), events)


def test_a_counter_among_the_columns(tmp_path):
    jets = ak.Array([[1.0, 2.0], [], [3.0]])
    right = Events.from_dict({"Jet_pt": jets, "Jet_eta": jets, "nJet": np.array([2, 0, 1])})
    right = right.replace_schema(right.schema)
    write_events(tmp_path / "a.root", right)
    found = read_events(tmp_path / "a.root")
    assert found.schema.names == right.schema.names
    assert found["nJet"].tolist() == [2, 0, 1]
    wrong = right.with_columns({"nJet": np.array([2, 0, 2])})
    with pytest.raises(SchemaError, match="'nJet' is not the multiplicity of 'Jet_pt'"):
        write_events(tmp_path / "a.root", wrong)


def test_a_collection_named_like_a_flat_field(tmp_path):
    lists = ak.Array([[1.0], []])
    schema = Schema((Field("J", "float64"), Field("J_x", "float64", jagged=True, collection="J")))
    events = Events(schema, {"J": np.array([1.0, 2.0]), "J_x": lists})
    write_events(tmp_path / "a.root", events)
    assert_same(read_events(tmp_path / "a.root"), events)


def test_what_root_cannot_hold_is_refused(tmp_path):
    events = Events.from_dict({"x": np.ones(3, dtype="f2")})
    with pytest.raises(
        SchemaError, match=r"'x' has type float16.*float32 or float64, or write \.h5"
    ):
        write_events(tmp_path / "a.root", events)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["gzip", "zstd:x", "best"])
def test_unknown_compression(tmp_path, text):
    with pytest.raises(ValueError, match="not known to ROOT; use zstd, lz4, zlib, lzma or none"):
        write_events(tmp_path / "a.root", example(), compression=text)


def test_foreign_branches():
    found = describe(FOREIGN / "vectors.root")
    assert found.n_events == 60  # the last cycle, not the 31 entries of the first
    assert set(found.left_out) == {"nested", "words", "text", "lorentz", "pair", "hit_x"}
    assert "std::vector<std::string>" in found.left_out["words"]
    assert "float[][3]" in found.left_out["hit_x"]
    assert found.hidden == ("nhit",)
    schema = found.schema
    assert schema.collections == {
        "jet": ("jet_pt", "jet_id"),
        "flags": ("flags",),
        "hit": ("hit_e",),
    }
    assert (schema["length"].unit, schema["length"].dtype) == ("mm", "uint16")
    assert schema["length"].description == "length of the track [mm]"
    assert (schema["half"].dtype, schema["matrix"].shape) == ("float64", (2, 3))
    assert schema.weight == "genWeight"
    events = read_events(FOREIGN / "vectors.root")
    assert events["length"].tolist() == list(range(60))
    assert events["jet_pt"][7].tolist() == [7.0, 8.0, 9.0]
    assert events["hit_e"][5].tolist() == [5.0, 6.0]
    assert events["flags"][3].tolist() == [False, True, False]
    assert events["good"].tolist() == [i % 2 == 1 for i in range(60)]
    assert events["matrix"][9].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert events["half"].tolist() == [float(-i) for i in range(60)]
    assert events["a b"].dtype == np.uint16


def test_a_cycle_by_name():
    assert describe(FOREIGN / "vectors.root", tree="T").n_events == 60
    with uproot.open(FOREIGN / "vectors.root") as file:
        cycles = {name: file[name].num_entries for name in file}
    for name, n_events in cycles.items():
        assert describe(FOREIGN / "vectors.root", tree=name).n_events == n_events


def test_counters_and_left_out_branches_by_name(tmp_path):
    path = FOREIGN / "vectors.root"
    assert read_events(path, fields=["nhit"])["nhit"].tolist() == [i % 3 for i in range(60)]
    assert len(read_events(path, fields=["half"], cut="nhit == 2")) == 20
    with pytest.raises(SchemaError, match=r"'words' of tree 'T' .* cannot be read: type std::vec"):
        read_events(path, fields=["words"])
    events = read_events(path)
    write_events(tmp_path / "copy.root", events)
    assert_same(read_events(tmp_path / "copy.root"), events)


def test_foreign_rntuple_over_clusters(tmp_path):
    found = describe(FOREIGN / "ntuple.root")
    assert found.layout == "rntuple"
    assert set(found.left_out) == {"text", "nested", "maybe", "points"}
    assert found.schema.collections == {
        "jet": ("jet_pt", "jet_id"),
        "hits": ("hits_0", "hits_1"),
    }
    assert found.schema["x"].unit == "mm"
    events = read_events(FOREIGN / "ntuple.root", start=100, stop=2000)  # three clusters
    rows = np.arange(100, 2000)
    assert np.array_equal(events["x"], rows.astype("f4"))
    assert np.array_equal(events["large"], (1 << 63) + rows.astype("u8"))
    assert np.array_equal(events["matrix"][:, 2, 1], rows)
    assert events["jet_pt"].tolist() == [[float(i + k) for k in range(i % 4)] for i in rows]
    assert events["hits_1"].tolist() == [list(range(i % 4)) for i in rows]
    write_events(tmp_path / "copy.root", events, rntuple=True)
    assert_same(read_events(tmp_path / "copy.root"), events)


def test_lists_that_only_seem_to_belong_together(tmp_path, caplog):
    """Alike in the first thousand events, from which the collection is guessed, and not after."""
    counts = np.ones(1500, dtype=int)
    later = np.where(np.arange(1500) == 1400, 2, 1)
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mkrntuple(
            "N",
            {
                "J_a": ak.unflatten(np.zeros(counts.sum()), counts),
                "J_b": ak.unflatten(np.zeros(later.sum()), later),
            },
        )
    assert describe(tmp_path / "a.root").schema.collections == {"J": ("J_a", "J_b")}
    with caplog.at_level(logging.INFO):
        events = read_events(tmp_path / "a.root")
    assert events.schema.collections == {"J_a": ("J_a",), "J_b": ("J_b",)}
    assert "J_a, J_b differ in multiplicity" in caplog.text


def several_trees(path, names):
    with uproot.recreate(path) as file:
        for name in names:
            file.mktree(name, {"x": "f4"}).extend({"x": np.ones(2, dtype="f4")})


def test_several_trees(tmp_path):
    path = tmp_path / "a.root"
    several_trees(path, ["signal", "dir/background"])
    with pytest.raises(ValueError, match=r"several trees: signal, dir/background; say .* tree="):
        read_events(path)
    assert len(read_events(path, tree="dir/background")) == 2
    with pytest.raises(ValueError, match=r"no tree 'Events' in .*; it has signal, dir/background"):
        read_events(path, tree="Events")


def test_the_bookkeeping_of_nanoaod_does_not_count(tmp_path):
    path = tmp_path / "nano.root"
    several_trees(path, ["Events", "Runs", "LuminosityBlocks", "MetaData", "ParameterSets"])
    assert describe(path).tree == "Events"
    assert describe(path).trees["Runs"] == 2
    several_trees(path, ["Runs"])
    assert describe(path).tree == "Runs"


def test_no_tree(tmp_path):
    with uproot.recreate(tmp_path / "a.root") as file:
        file["text"] = "only text"
    with pytest.raises(ValueError, match="holds no TTree and no RNTuple"):
        read_events(tmp_path / "a.root")


def test_a_tree_without_events(tmp_path):
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("T", {"x": "f4"})
    with pytest.raises(ValueError, match=r"tree 'T' of .* has no events"):
        read_events(tmp_path / "a.root")
    with pytest.raises(ValueError, match="has no events"):
        list(iter_events(tmp_path / "a.root"))


@pytest.mark.parametrize("fraction", [0.0001, 0.1, 0.5, 0.99])
def test_truncated_file(tmp_path, fraction):
    content = Path("data/zmumu.root").read_bytes()
    (tmp_path / "a.root").write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(OSError, match=r"a.root is truncated: its header declares 2723875 bytes"):
        read_events(tmp_path / "a.root")


def test_a_header_that_is_cut_off(tmp_path):
    (tmp_path / "a.root").write_bytes(b"root\0\0")
    with pytest.raises(OSError, match="is truncated"):
        read_events(tmp_path / "a.root")


def test_damaged_values_name_the_branch(tmp_path):
    with uproot.open("data/zmumu.root") as file:
        branch = file["Events"]["met"]
        where = branch.member("fBasketSeek")[0]
    content = bytearray(Path("data/zmumu.root").read_bytes())
    content[where : where + 400] = bytes(400)
    (tmp_path / "a.root").write_bytes(content)
    assert len(read_events(tmp_path / "a.root", fields=["mll"])) == 60_000
    with pytest.raises(
        OSError, match=r"cannot read branch 'met' of .*a.root: the file is damaged"
    ):
        read_events(tmp_path / "a.root")


@pytest.mark.parametrize("start", [100, 2_720_000])
def test_damaged_structure(tmp_path, start):
    content = bytearray(Path("data/zmumu.root").read_bytes())
    content[start : start + 3000] = b"\xff" * len(content[start : start + 3000])
    (tmp_path / "a.root").write_bytes(content)
    with pytest.raises((OSError, ValueError), match=r"a\.root"):
        read_events(tmp_path / "a.root")


def test_a_newer_format_is_refused(tmp_path):
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("Events", {"x": "f4"}).extend({"x": np.ones(2, dtype="f4")})
        file["Events_physgen"] = '{"format": 2}'
    with pytest.raises(ValueError, match="format 2, and this physgen reads up to 1; update"):
        read_events(tmp_path / "a.root")


def test_a_column_that_somebody_added_is_read_too(tmp_path):
    schema = Schema((Field("x", "float32", unit="GeV"), Field("gone", "float32")))
    events = Events(schema, {"x": np.ones(2), "gone": np.ones(2)})
    text = json.dumps({"format": 1, "schema": schema.to_dict()})
    with uproot.recreate(tmp_path / "a.root") as file:
        types = {"x": "f8", "new": "f4"}
        file.mktree("Events", types).extend({"x": np.ones(2), "new": np.ones(2, dtype="f4")})
        file["Events_physgen"] = text
    found = read_events(tmp_path / "a.root").schema
    assert found.names == ("x", "new")
    assert found["x"] == dataclasses.replace(events.schema["x"], dtype="float64")


def test_a_column_that_somebody_made_into_lists_is_what_the_file_holds(tmp_path):
    schema = Schema((Field("x", "float64", unit="GeV"),))
    lists = ak.Array([[1.0, 2.0], [3.0]])
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("Events", {"x": "var * float64"}).extend({"x": lists})
        file["Events_physgen"] = json.dumps({"format": 1, "schema": schema.to_dict()})
    found = read_events(tmp_path / "a.root")
    assert found.schema["x"].jagged
    assert found["x"].to_list() == lists.to_list()


@KINDS
def test_names_that_a_terminal_would_obey_are_left_out(tmp_path, rntuple):
    columns = {"a\x1b[2J": np.arange(3.0), "b": np.arange(3.0)}
    with uproot.recreate(tmp_path / "a.root") as file:
        if rntuple:
            file.mkrntuple("Events", columns)
        else:
            file.mktree("Events", dict.fromkeys(columns, "f8")).extend(columns)
    found = describe(tmp_path / "a.root")
    assert found.left_out == {"a\\x1b[2J": "a name with control characters"}
    assert read_events(tmp_path / "a.root").schema.names == ("b",)


def test_a_path_with_a_colon(tmp_path):
    folder = tmp_path / "run:7"
    folder.mkdir()
    shutil.copy(FOREIGN / "vectors.root", folder / "a.root")
    assert len(read_events(folder / "a.root")) == 60


def test_binning_and_hdf5_settings_do_not_belong_here(tmp_path):
    with pytest.raises(ValueError, match="binning= belongs to CaloChallenge files"):
        read_events("data/zmumu.root", binning="data/binning_576.xml")
    with pytest.raises(ValueError, match="layout= does not belong to ROOT files"):
        write_events(tmp_path / "a.root", example(), layout="physgen")
