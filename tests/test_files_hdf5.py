"""HDF5: physgen's own format, the dialects of others, plain columns, damage."""

import hashlib
from pathlib import Path

import awkward as ak
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from physgen.events import Events
from physgen.files import Binning, describe, iter_events, read_events, write_events
from physgen.files.reading import open_file
from physgen.schema import Field, Schema, SchemaError

TYPES = "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64"
SHOWERS = "data/showers.h5"
BINNING = "data/binning_576.xml"


def bits(array):
    if not isinstance(array, np.ndarray):
        return ak.num(array, axis=1).to_list(), bits(ak.flatten(array).to_numpy())
    return array.dtype.name, array.shape, np.ascontiguousarray(array).tobytes()


def assert_same(found, events):
    assert found.schema == events.schema
    for name in events.schema.names:
        assert bits(found[name]) == bits(events[name]), name


def make(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return path


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_events_round_trip(tmp_path, data):
    n_events = data.draw(st.integers(1, 7))
    counts = data.draw(hnp.arrays("i8", n_events, elements=st.integers(0, 3)))
    dtype, other = (
        data.draw(st.sampled_from(TYPES.split())),
        data.draw(st.sampled_from(TYPES.split())),
    )

    def values(kind, shape):
        plain = {"allow_nan": False, "allow_infinity": False}
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
    compression = data.draw(st.sampled_from([None, "gzip", "lzf", "none"]))
    write_events(tmp_path / "a.h5", events, compression=compression)
    assert_same(read_events(tmp_path / "a.h5"), events)


def test_payloads_signs_and_denormals(tmp_path):
    words = np.array([0x7FF8DEADBEEF0001, 0xFFF0000000000001, 1 << 63, 1, 0x7FF0 << 48], "u8")
    events = Events.from_dict({"x": words.view("f8"), "y": [[1.0], [], [2.0, 3.0], [], []]})
    write_events(tmp_path / "a.h5", events)
    with open_file(tmp_path / "a.h5") as source:
        assert bits(source["x"].read(0, 5)) == bits(events["x"])


def test_the_format_is_what_the_documentation_says(tmp_path):
    schema = Schema(
        (
            Field("x", "float64", unit="GeV", role="condition"),
            Field("Jet_pt", jagged=True, collection="Jet", allowed=(1, 2, 3)),
            Field("Jet_n", "int8", jagged=True, collection="Jet"),
        ),
        {"spin_up": "+1", "long": "é" * 100_000},
    )
    lists = ak.Array([[1.0, 2.0], [], [3.0]])
    events = Events(
        schema, {"x": np.arange(3.0), "Jet_pt": lists, "Jet_n": ak.values_astype(lists, "i1")}
    )
    write_events(tmp_path / "a.h5", events)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["physgen_format"] == 1
        assert file["x"][:].tolist() == [0, 1, 2]
        assert file["Jet_pt/content"][:].tolist() == [1, 2, 3]
        assert file["Jet_pt/offsets"][:].tolist() == [0, 2, 2, 3]
        assert file["Jet_n/offsets"] == file["Jet_pt/offsets"]  # one dataset, two names
    assert_same(read_events(tmp_path / "a.h5"), events)
    assert_same(read_events(tmp_path / "a.h5", start=1), events[1:])


def test_equal_events_make_equal_files(tmp_path):
    events = read_events("data/zmumu.root", stop=1000)
    digests = set()
    for name in ("a.h5", "b.h5"):
        write_events(tmp_path / name, events)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_calochallenge_both_ways(tmp_path):
    events = read_events(SHOWERS, binning=BINNING)
    assert events.schema.with_role("condition") == ("incident_energies",)
    assert {f.unit for f in events.schema} == {"MeV"}
    assert events["incident_energies"].shape == (2000,)
    assert events["showers"].shape == (2000, 576)
    assert events.schema.conventions["layout"] == "calochallenge"
    write_events(tmp_path / "fake.h5", events)
    with h5py.File(tmp_path / "fake.h5") as ours, h5py.File(SHOWERS) as theirs:
        # what check_file of the challenge's evaluate.py asks for
        assert set(ours) == {"incident_energies", "showers"}
        assert ours["showers"].shape[1] == 576
        assert ours["incident_energies"].shape == (2000, 1)
        for name in theirs:
            assert bits(ours[name][:]) == bits(theirs[name][:])
            assert ours[name].compression == "gzip"
    assert_same(read_events(tmp_path / "fake.h5"), events)


def test_generated_showers_are_written_in_the_layout_of_the_truth(tmp_path):
    truth = read_events(SHOWERS, stop=10, binning=BINNING)
    fake = Events(
        truth.schema, {"showers": np.ones((4, 576)), "incident_energies": np.full(4, 1e4)}
    )
    write_events(tmp_path / "fake.hdf5", fake)
    assert describe(tmp_path / "fake.hdf5").layout == "calochallenge"
    assert_same(read_events(tmp_path / "fake.hdf5"), fake)
    write_events(tmp_path / "own.h5", fake, layout="physgen")
    assert describe(tmp_path / "own.h5").layout == "physgen"
    assert_same(read_events(tmp_path / "own.h5"), fake)
    more = fake.with_columns({"angle": np.zeros(4)})
    write_events(tmp_path / "more.h5", more)
    assert describe(tmp_path / "more.h5").layout == "physgen"
    assert_same(read_events(tmp_path / "more.h5"), more)
    with pytest.raises(SchemaError, match="layout 'calochallenge' needs other fields"):
        write_events(tmp_path / "more.h5", more, layout="calochallenge")
    with pytest.raises(
        ValueError, match="no HDF5 layout 'par4'; there are physgen, calochallenge"
    ):
        write_events(tmp_path / "more.h5", more, layout="par4")


def test_binning_travels_with_the_events():
    binning = Binning.from_schema(read_events(SHOWERS, stop=2, binning=BINNING).schema)
    assert binning == Binning.from_xml(BINNING)
    assert binning.shape == (12, 8, 6)
    assert binning.layers[3].r_edges == (0, 2, 5, 10, 18, 35, 80)
    assert binning.layer_slices[1] == slice(48, 96)
    showers = np.arange(2 * 576).reshape(2, 576)
    # r fastest, then alpha, then the layer
    assert binning.unflatten(showers)[1, 2, 3, 4] == 576 + 2 * 48 + 3 * 6 + 4
    with pytest.raises(ValueError, match="carry no binning; read them with"):
        Binning.from_schema(Schema((Field("x"),)))


PHOTON = """<Bins><Bin pid="22" etaMin="0" etaMax="130" name="photon">
<Layer id="0" r_edges="0,5,10,30" n_bin_alpha="1"/><Layer id="1" r_edges="0" n_bin_alpha="1"/>
<Layer id="12" r_edges="0,2.5,1e2" n_bin_alpha="10"/></Bin>
<Bin name="pion"><Layer id="0" r_edges="0,5" n_bin_alpha="2"/></Bin></Bins>"""


def test_irregular_binning(tmp_path):
    (tmp_path / "b.xml").write_text(PHOTON)
    binning = Binning.from_xml(tmp_path / "b.xml", particle="photon")
    assert [layer.id for layer in binning.layers] == [0, 12]  # one edge: the layer is absent
    assert binning.n_voxels == 3 + 20
    assert binning.layer_slices == (slice(0, 3), slice(3, 23))
    with pytest.raises(ValueError, match="different numbers of bins"):
        _ = binning.shape
    assert Binning.from_xml(tmp_path / "b.xml", n_voxels=2).particle == "pion"
    (tmp_path / "again.xml").write_text(binning.to_xml())
    assert Binning.from_xml(tmp_path / "again.xml") == binning


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"several particles \(photon, pion\); say particle="),
        ({"particle": "muon"}, "has no particle 'muon'; it has photon, pion"),
        ({"n_voxels": 368}, "bins photon 23, pion 2 voxels, but the showers have 368"),
    ],
)
def test_binning_that_does_not_fit(tmp_path, arguments, message):
    (tmp_path / "b.xml").write_text(PHOTON)
    with pytest.raises(ValueError, match=message):
        Binning.from_xml(tmp_path / "b.xml", **arguments)


@pytest.mark.parametrize(
    "text",
    [
        "no xml",
        "<Bins/>",
        '<!DOCTYPE b [<!ENTITY a "aaaa">]><Bins><Bin name="&a;"/></Bins>',
        PHOTON.replace("0,5,10,30", "0,10,5,30"),
        PHOTON.replace("0,5,10,30", "0,nan"),
        PHOTON.replace('n_bin_alpha="10"', 'n_bin_alpha="0"'),
        PHOTON.replace("r_edges", "edges"),
    ],
)
def test_binning_that_is_none(tmp_path, text):
    (tmp_path / "b.xml").write_text(text)
    with pytest.raises(ValueError, match=r"b\.xml is not a binning of the CaloChallenge"):
        Binning.from_xml(tmp_path / "b.xml")


def test_binning_beside_other_files(tmp_path):
    path = make(tmp_path / "a.h5", x=np.ones(3))
    with pytest.raises(ValueError, match="belongs to files in the CaloChallenge layout"):
        read_events(path, binning=BINNING)
    with pytest.raises(FileNotFoundError, match="no binning file"):
        read_events(SHOWERS, binning=tmp_path / "no.xml")


def test_par04_both_ways(tmp_path):
    rng = np.random.default_rng(0)
    grid, energy = rng.random((5, 3, 4, 2), dtype="f4"), rng.random(5)
    path = make(tmp_path / "a.h5", incident_energy=energy, showers=grid)
    events = read_events(path)
    assert events.schema["showers"].shape == (3, 4, 2)
    assert events.schema.with_role("condition") == ("incident_energy",)
    assert {f.unit for f in events.schema} == {"MeV"}
    write_events(tmp_path / "b.h5", events)
    assert describe(tmp_path / "b.h5").layout == "par04"
    with h5py.File(tmp_path / "b.h5") as file:
        assert bits(file["showers"][:]) == bits(grid)
        assert bits(file["incident_energy"][:]) == bits(energy)
    assert_same(read_events(tmp_path / "b.h5"), events)


def jets():
    """Three jets of at most four particles: full, one particle, none."""
    rng = np.random.default_rng(1)
    particles = rng.normal(size=(3, 4, 4)).astype("f4")
    counts = np.array([4, 1, 0])
    particles[..., 3] = np.arange(4) < counts[:, None]
    particles[particles[..., 3] == 0] = 0
    features = rng.normal(size=(3, 4)).astype("f4")
    return particles, features, counts


def test_jetnet_both_ways(tmp_path):
    particles, features, counts = jets()
    path = make(tmp_path / "g.hdf5", particle_features=particles, jet_features=features)
    events = read_events(path)
    names = ("particle_eta_rel", "particle_phi_rel", "particle_pt_rel")
    assert events.schema.collections == {"particle": names}
    assert events.multiplicity("particle_pt_rel").tolist() == counts.tolist()
    assert events["particle_phi_rel"][0].tolist() == particles[0, :, 1].tolist()
    assert {n: events.schema[n].unit for n in ("pt", "eta", "mass")} == {
        "pt": "GeV",
        "eta": "",
        "mass": "GeV",
    }
    assert np.array_equal(events["n_particles"], features[:, 3])
    assert_same(
        read_events(path, start=1, fields=["mass", names[2]]), events[1:][["mass", names[2]]]
    )
    write_events(tmp_path / "again.h5", events)
    with h5py.File(tmp_path / "again.h5") as file:
        assert bits(file["particle_features"][:]) == bits(particles)
        assert bits(file["jet_features"][:]) == bits(features)
    assert_same(read_events(tmp_path / "again.h5"), events)


def test_jetnet_with_more_particles_than_it_holds(tmp_path):
    particles, features, _ = jets()
    path = make(tmp_path / "g.h5", particle_features=particles, jet_features=features)
    events = read_events(path)
    lists = ak.values_astype(ak.Array([[1.0], [1.0] * 5, []]), "f4")
    names = events.schema.collections["particle"]
    more = Events(
        events.schema, {n: lists if n in names else events[n] for n in events.schema.names}
    )
    with pytest.raises(
        ValueError, match=r"event 1 has 5 particles, and the JetNet layout .* holds 4"
    ):
        write_events(path, more)
    assert_same(read_events(path), events)


def test_jetnet_with_odd_masks(tmp_path, caplog):
    particles, features, _ = jets()
    particles[0, 1, 3] = 0
    path = make(tmp_path / "g.h5", particle_features=particles, jet_features=features)
    assert read_events(path)["particle_pt_rel"][0].tolist() == particles[0, [0, 2, 3], 2].tolist()
    assert "the padding is dropped" in caplog.text
    particles[0, 1, 3] = 0.5
    path = make(tmp_path / "g.h5", particle_features=particles, jet_features=features)
    with pytest.raises(ValueError, match=r"mask .* values other than 0 and 1"):
        read_events(path)


def test_plain_columns_groups_and_units(tmp_path):
    path = make(
        tmp_path / "a.h5", pt=np.arange(3.0), grid=np.ones((3, 2, 2), ">i2"), weight=-np.ones(3)
    )
    with h5py.File(path, "a") as file:
        file["muon/eta"] = np.arange(3, dtype="f4")
        file["name"] = ["a", "b", "c"]
        file["scalar"] = 3.0
        file["complex"] = np.ones(3, "c8")
        file.attrs["generator"] = "Pythia"
    events = read_events(path, units={"pt": "GeV"})
    assert set(events.schema.names) == {"pt", "grid", "weight", "muon_eta"}
    assert events.schema["pt"].label == "pt [GeV]"
    assert events.schema["grid"].dtype == "int16"
    assert events.schema.weight == "weight"
    assert events.schema.conventions == {"generator": "Pythia"}
    with h5py.File(path, "a") as file:
        file["muon_eta"] = np.ones(3)
    assert {"muon/eta", "muon_eta"} <= set(read_events(path).schema.names)
    left_out = describe(path).left_out
    assert {name: reason.split(";")[0] for name, reason in left_out.items()} == {
        "name": "type text",
        "scalar": "a single value, not one entry per event",
        "complex": "type complex64",
    }
    with pytest.raises(SchemaError, match=r"'name' .* cannot be read: type text"):
        read_events(path, fields=["name"])


def test_structured_array(tmp_path):
    dtype = [("pt", "f4"), ("id", "i2"), ("p", "f8", (3,)), ("tag", "S4")]
    table = np.zeros(4, dtype=dtype)
    table["pt"], table["id"], table["p"] = np.arange(4), -np.arange(4), np.arange(12).reshape(4, 3)
    path = make(tmp_path / "a.h5", table=table)
    events = read_events(path, start=1)
    assert events.schema.names == ("pt", "id", "p")
    assert bits(events["p"]) == bits(np.arange(3.0, 12).reshape(3, 3))
    assert events["id"].tolist() == [-1, -2, -3]
    assert set(describe(path).left_out) == {"table.tag"}


def test_columns_of_unequal_length(tmp_path):
    path = make(tmp_path / "a.h5", x=np.ones(3), y=np.ones(4), z=np.ones(3))
    with pytest.raises(
        SchemaError, match="different lengths: x 3, y 4, z 3; choose columns of one"
    ):
        read_events(path)
    assert len(read_events(path, fields=["x", "z"])) == 3
    assert describe(path).n_events is None
    assert "columns of different lengths" in str(describe(path))


def test_no_columns_and_no_events(tmp_path):
    with pytest.raises(ValueError, match=r"no columns that physgen can hold \(x: a single value"):
        read_events(make(tmp_path / "a.h5", x=3.0))
    with pytest.raises(ValueError, match=r"a\.h5 has no events"):
        read_events(make(tmp_path / "a.h5", x=np.empty(0)))


@pytest.mark.parametrize("n_bytes", [9, 100, 5_000, 2_000_000])
def test_truncated_file(tmp_path, n_bytes):
    (tmp_path / "a.h5").write_bytes(Path(SHOWERS).read_bytes()[:n_bytes])
    with pytest.raises(OSError, match=r"cannot read the header of .*a\.h5: the file is damaged"):
        read_events(tmp_path / "a.h5")


def test_damaged_values_name_the_dataset(tmp_path):
    content = bytearray(Path(SHOWERS).read_bytes())
    with h5py.File(SHOWERS) as file:
        where = file["showers"].id.get_chunk_info(0).byte_offset
    content[where + 100 : where + 200] = bytes(100)
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(
        OSError, match=r"cannot read dataset '/showers' of .*: the file is damaged"
    ):
        read_events(tmp_path / "a.h5")


def test_a_file_that_declares_more_than_was_written(tmp_path):
    """A few bytes must not make us allocate terabytes."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", shape=(10**13,), dtype="f8", chunks=(10**6,))
        file["x"][:3] = 1
    with pytest.raises(
        OSError, match=r"'/x' of .* declares the shape \(10000000000000,\), but not all"
    ):
        read_events(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", shape=(10**13,), dtype="f8")
    with pytest.raises(OSError, match="not all of it was written"):
        describe(tmp_path / "a.h5")


def own_file(path):
    lists = ak.Array([[1.0, 2.0], [], [3.0]])
    write_events(path, Events.from_dict({"x": np.ones(3), "J_a": lists, "J_b": lists}))
    return path


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0, 2, 1, 3], "do not increase from 0"),
        ([-1, 2, 2, 3], "do not increase from 0"),
        ([0, 2, 2, 9], "go up to 9, and it has 3 values"),
    ],
)
def test_corrupted_offsets(tmp_path, offsets, message):
    path = own_file(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file["J_a/offsets"][:] = offsets
    with pytest.raises(OSError, match=rf"offsets .*a\.h5 {message}"):
        read_events(path)


@pytest.mark.parametrize("change", ["missing", "dtype", "shape", "attribute", "lengths"])
def test_a_changed_file_of_ours(tmp_path, change):
    path = own_file(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        if change == "attribute":
            file.attrs["physgen_schema"] = "{not json"
        else:
            del file["x"]
        if change == "dtype":
            file["x"] = np.ones(3, "f4")
        if change == "shape":
            file["x"] = np.ones((3, 2))
        if change == "lengths":
            file["x"] = np.ones(4)
    error = SchemaError if change == "lengths" else OSError
    with pytest.raises(error, match=r"a\.h5"):
        read_events(path)


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("content", np.ones(3, "f4"), "content' of .* is no list of float64, as its schema says"),
        ("content", np.ones((3, 1)), "content' of .* is no list of float64, as its schema says"),
        ("offsets", np.array([0.0, 2.0, 2.0, 3.0]), "offsets .* are no list of integers"),
        ("offsets", np.array([], "i8"), "offsets .* are no list of integers"),
    ],
)
def test_lists_that_were_changed(tmp_path, name, values, words):
    path = own_file(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        del file[f"J_a/{name}"]
        file[f"J_a/{name}"] = values
    with pytest.raises(OSError, match=words):
        read_events(path)


def test_numbers_of_more_than_64_bits_are_left_out(tmp_path):
    path = make(tmp_path / "a.h5", x=np.ones(3), long=np.ones(3, np.longdouble))
    assert describe(path).left_out["long"].endswith("physgen holds numbers of up to 64 bits")
    assert read_events(path).schema.names == ("x",)


def test_a_newer_format_is_refused(tmp_path):
    path = own_file(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file.attrs["physgen_format"] = 2
    with pytest.raises(
        ValueError, match="format 2, and this physgen reads up to 1; update physgen"
    ):
        read_events(path)


def test_links_to_other_files_are_not_followed(tmp_path):
    make(tmp_path / "secret.h5", x=np.arange(3.0))
    path = make(tmp_path / "a.h5", y=np.ones(3))
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(tmp_path / "secret.h5", "x", (3,))
    with h5py.File(path, "a") as file:
        file["x"] = h5py.ExternalLink("secret.h5", "x")
        file["soft"] = h5py.SoftLink("/y")
        file.create_virtual_dataset("virtual", layout)
        file["loop/again"] = file["/"]
        file.create_dataset("raw", (3,), "f8", external=[(str(tmp_path / "raw.bin"), 0, 24)])
    assert read_events(path).schema.names == ("y",)
    with pytest.raises(
        SchemaError, match=r"a link to another file \(secret.h5\), which physgen does"
    ):
        read_events(path, fields=["x"])
    left_out = describe(path).left_out
    assert set(left_out) == {"x", "soft", "virtual", "raw"}
    assert "in another file" in left_out["virtual"]
    assert "in another file" in left_out["raw"]


def test_an_external_link_cannot_stand_for_a_column_of_ours(tmp_path):
    path = own_file(tmp_path / "a.h5")
    make(tmp_path / "other.h5", x=np.ones(3))
    with h5py.File(path, "a") as file:
        del file["x"]
        file["x"] = h5py.ExternalLink("other.h5", "x")
    with pytest.raises(OSError, match="lacks the dataset 'x'"):
        read_events(path)


def test_settings_of_other_formats(tmp_path):
    events = Events.from_dict({"x": np.ones(3)})
    with pytest.raises(ValueError, match="has no trees"):
        read_events(own_file(tmp_path / "a.h5"), tree="Events")
    with pytest.raises(ValueError, match="rntuple= does not belong to HDF5 files"):
        write_events(tmp_path / "b.h5", events, rntuple=True)
    with pytest.raises(ValueError, match="compression 'zstd' is not known to HDF5; use gzip"):
        write_events(tmp_path / "b.h5", events, compression="zstd")


def test_batches_of_jagged_columns_keep_the_bound(tmp_path):
    """A burst of entries in the middle: batches shrink where the events grow."""
    counts = np.where(np.arange(3000) // 1000 == 1, 100, 1)
    events = Events.from_dict({"J": ak.unflatten(np.arange(counts.sum(), dtype="f8"), counts)})
    write_events(tmp_path / "a.h5", events)
    sizes, lists = [], []
    for batch in iter_events(tmp_path / "a.h5", max_memory="60 kB"):
        sizes.append(int(batch["J"].nbytes))
        lists += batch["J"].tolist()
    assert max(sizes) <= 20_100
    assert len(sizes) > 40
    assert lists == events["J"].tolist()
