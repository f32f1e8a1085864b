"""Real files of others; they are not part of the repository, so these tests may be skipped."""

import os
from pathlib import Path

import numpy as np
import pytest
import uproot

from physgen.files import Binning, describe, iter_events, read_events, write_events
from physgen.schema import SchemaError

DATA = Path(os.environ.get("PHYSGEN_DATA", Path(__file__).parents[2] / "shared" / "data"))
pytestmark = pytest.mark.skipif(
    not (DATA / "hep").is_dir(), reason="no foreign files here; set PHYSGEN_DATA to their folder"
)
NANO = DATA / "hep" / "nanoAOD_2015_CMS_Open_Data_ttbar.root"
HZZ = DATA / "hep" / "uproot-HZZ.root"


def test_cms_dimuons():
    path = DATA / "hep" / "uproot-Zmumu.root"
    events = read_events(path, units={"M": "GeV"})
    assert len(events) == 2304
    assert describe(path).left_out == {
        "Type": "type char*; physgen holds numbers and lists of numbers"
    }
    with uproot.open(path) as file:
        for name in events.schema.names:
            bare = file["events"][name].array(library="np")
            assert np.array_equal(events[name], bare)
            assert events[name].dtype == bare.dtype
    with pytest.raises(SchemaError, match=r"'Type' of .* cannot be read"):
        read_events(path, fields=["Type"])
    heavy = read_events(path, fields=["M"], cut="Q1 * Q2 < 0 and M > 80")
    assert 0 < len(heavy) < len(events)
    assert heavy["M"].min() > 80


def test_cms_tutorial_with_jagged_collections(tmp_path):
    events = read_events(HZZ)
    assert len(events) == 2421
    assert set(events.schema.collections) == {"Jet", "Muon", "Electron", "Photon"}
    assert len(events.schema.collections["Muon"]) == 6
    assert events.schema.weight == "EventWeight"
    with uproot.open(HZZ) as file:
        tree = file["events"]
        assert events["Muon_Px"].tolist() == tree["Muon_Px"].array().tolist()
        assert events["Jet_ID"].tolist() == tree["Jet_ID"].array().tolist()
        assert events.multiplicity("Jet_E").tolist() == tree["NJet"].array().tolist()
    assert not {"NJet", "NMuon"} & set(events.schema.names)
    for name in ("a.root", "a.h5"):
        write_events(tmp_path / name, events)
        again = read_events(tmp_path / name)
        assert again.schema == events.schema
        assert again.to_awkward().tolist() == events.to_awkward().tolist()


def test_nanoaod(tmp_path):
    found = describe(NANO)
    assert (found.tree, found.n_events, len(found.schema)) == ("Events", 200, 925)
    assert found.left_out == {}
    assert found.schema["Electron_pt"].collection == "Electron"
    assert found.schema.weight == "genWeight"
    assert "nElectron" in found.hidden
    with pytest.raises(ValueError, match="HTXS_Higgs_y in 200 of 200 events"):
        read_events(NANO)
    finite = [name for name in found.schema.names if name != "HTXS_Higgs_y"]
    events = read_events(NANO, fields=finite)[finite[:300]]
    write_events(tmp_path / "nano.h5", events)
    again = read_events(tmp_path / "nano.h5")
    assert again.schema == events.schema
    muons = read_events(NANO, fields=["Muon_*"], cut="nMuon >= 2")
    assert muons.multiplicity("Muon_pt").min() >= 2
    parts = iter_events(NANO, fields=finite[:80], max_memory="100 kB")
    assert sum(len(part) for part in parts) == 200


@pytest.mark.parametrize("kind", ["gluon", "top"])
def test_jetnet_goes_back_to_the_bit(tmp_path, kind):
    import h5py

    path = DATA / f"jets_{kind}.h5"
    events = read_events(path, stop=5000)
    assert events.multiplicity("particle_pt_rel").max() == 30
    write_events(tmp_path / "jets.h5", events)
    with h5py.File(path) as theirs, h5py.File(tmp_path / "jets.h5") as ours:
        for name in ("particle_features", "jet_features"):
            assert ours[name][:].tobytes() == theirs[name][:5000].tobytes()


@pytest.mark.parametrize(("n_voxels", "shape"), [(576, (12, 8, 6)), (6480, (45, 16, 9))])
def test_showers(n_voxels, shape):
    folder = DATA / "showers"
    path, xml = folder / f"electrons_{n_voxels}.h5", folder / f"binning_{n_voxels}.xml"
    events = read_events(path, stop=300, binning=xml)
    binning = Binning.from_schema(events.schema)
    assert binning.shape == shape
    deposits = binning.unflatten(events["showers"]).sum(axis=(1, 2, 3), dtype="f8")
    assert deposits.sum() / events["incident_energies"].sum() == pytest.approx(0.945, abs=0.015)
    other = folder / f"binning_{7056 - n_voxels}.xml"
    with pytest.raises(
        ValueError, match=f"but the showers have {n_voxels}; it belongs to another"
    ):
        read_events(path, binning=other)


def test_mnist():
    folder = DATA / "mnist"
    images = read_events(folder / "t10k-images-idx3-ubyte.gz")
    labels = read_events(folder / "t10k-labels-idx1-ubyte.gz")
    assert images["images"].shape == (10_000, 28, 28)
    assert np.bincount(labels["labels"]).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
