"""BibTeX of what a surrogate uses."""

import re
from pathlib import Path

import numpy as np
import pytest

import physgen as pg
from physgen.models import _KINDS, Hinge, Linear

ENTRIES = (Path(pg.__file__).parent / "methods.bib").read_text()
# of the trade, or made here: no paper is to be named
WITHOUT = {
    "MixturePrior",
    "MLPEnergy",
    "ConvEnergy",
    "ZeroInflated",
    "MixtureDecoder",
    "GrayDecoder",
}


def keys(text):
    return re.findall(r"^@\w+\{(.*?),", text, re.MULTILINE)


def test_every_part_of_a_model_names_its_papers():
    methods = {m for line in re.findall(r"methods = \{(.*)\}", ENTRIES) for m in line.split(", ")}
    assert set(_KINDS) - WITHOUT <= methods
    assert {m.split(".")[0] for m in methods} - set(_KINDS) == {
        "*", "EnergyFirst", "LatticeUNet", "ResidualMLP", "SetNetwork", "_Transformer"
    }  # fmt: skip


def test_entries_are_well_formed():
    names = keys(ENTRIES)
    assert len(names) == len(set(names)) > 35
    body = ENTRIES[ENTRIES.index("@") :]
    for entry in body.split("\n\n"):
        assert entry.count("{") == entry.count("}"), entry
        assert "  title = {{" in entry
        assert "  year = {" in entry
        assert re.search(r"eprint = \{\d{4}\.\d{4,5}\}|journal = |booktitle = ", entry), entry


def test_papers_follow_the_settings():
    assert keys(pg.citation()) == ["physgen"]
    hinge = keys(pg.citation(pg.GAN(objective=Hinge())))
    assert "miyato2018spectral" in hinge
    assert "jolicoeur2018relativistic" not in hinge
    flow = keys(pg.citation(pg.Diffusion(path=Linear(), sampler="dpm", coupling="optimal")))
    assert {"lipman2022flow", "lu2022dpm", "tong2023ot"} <= set(flow)
    assert "karras2022edm" not in flow
    both = keys(pg.citation(pg.GAN(), pg.Diffusion(), pg.GAN()))
    assert len(both) == len(set(both))
    assert "methods" not in pg.citation(*(kind() for kind in pg.models.FAMILIES.values()))


def test_a_surrogate_names_the_network_that_was_chosen():
    truth = pg.Events.from_dict({"x": np.random.default_rng(0).normal(size=200)})
    surrogate = pg.Surrogate.fit(truth, pg.Diffusion(n_hidden=8), steps=2, rng=1)
    assert "peebles2022dit" in keys(pg.citation(surrogate))
    assert "salmon2011philox" in keys(pg.citation(surrogate))


def test_anything_else_is_refused():
    with pytest.raises(TypeError, match=r"surrogates and settings of models.*got str"):
        pg.citation("gan")
