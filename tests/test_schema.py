"""Field and Schema: what is refused, and what survives JSON."""

import json

import pytest

from physgen import Field, Schema, SchemaError


def schema():
    return Schema(
        (
            Field("mu1_pt", unit="GeV", description="harder muon"),
            Field("mu1_eta"),
            Field("spins", "int8", shape=(4, 4), allowed=(1, -1)),
            Field("Jet_pt", jagged=True, collection="Jet"),
            Field("Jet_eta", jagged=True, collection="Jet"),
            Field("njet", "int32", role="condition"),
            Field("w", "float64", role="weight"),
        ),
        {"spin_up": "+1"},
    )


def test_label_has_the_unit_if_there_is_one():
    assert Field("pt", unit="GeV").label == "pt [GeV]"
    assert Field("njet").label == "njet"


def test_field_normalizes_what_is_written_in_several_ways():
    field = Field("s", ">f4", shape=[2, 3], allowed=(3, -1, 0))
    assert field.dtype == "float32"
    assert field.shape == (2, 3)
    assert field.allowed == (-1, 0, 3)
    assert Field("hits", jagged=True).collection == "hits"
    assert Field("hits").collection == ""


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"role": "label"}, "role 'label'; use one of observable, condition, weight"),
        (
            {"jagged": True, "shape": (3,)},
            "jagged and has shape .* one jagged field per component",
        ),
        ({"dtype": "nonsense"}, "type 'nonsense'; physgen holds numbers"),
        ({"dtype": "str"}, "type 'str'; physgen holds numbers"),
        ({"dtype": "complex64"}, "type 'complex64'; physgen holds numbers"),
        ({"role": "weight", "shape": (2,)}, "'x' must be one number per event"),
        ({"role": "weight", "jagged": True}, "'x' must be one number per event"),
    ],
)
def test_field_refuses(properties, message):
    with pytest.raises(SchemaError, match=message):
        Field("x", **properties)


def test_field_names_are_unique():
    with pytest.raises(SchemaError, match=r"given twice: a, c"):
        Schema((Field("a"), Field("c"), Field("b"), Field("c"), Field("a")))


def test_one_weight_per_event():
    with pytest.raises(SchemaError, match=r"w1, w2 all have the role 'weight'; multiply them"):
        Schema((Field("w1", role="weight"), Field("w2", role="weight")))


def test_reading_a_schema():
    s = schema()
    assert len(s) == 7
    assert "njet" in s
    assert "nope" not in s
    assert s.weight == "w"
    assert s.with_role("condition") == ("njet",)
    assert s.collections == {"Jet": ("Jet_pt", "Jet_eta")}
    assert [f.name for f in s] == list(s.names)
    assert Schema((Field("x"),)).weight is None


def test_missing_field_names_the_nearest():
    with pytest.raises(SchemaError, match=r"no field 'mu_pt'; did you mean 'mu1_pt'"):
        schema()["mu_pt"]
    with pytest.raises(SchemaError, match=r"no field 'zzz' \(fields: mu1_pt, mu1_eta"):
        schema()["zzz"]
    with pytest.raises(SchemaError, match=r"no field 'zzz' \(fields: none\)"):
        Schema(())["zzz"]


def test_select_keeps_the_order_asked_for_and_the_conventions():
    chosen = schema().select(["njet", "mu1_pt"])
    assert chosen.names == ("njet", "mu1_pt")
    assert chosen.conventions == {"spin_up": "+1"}


def test_with_field_changes_one_field_in_its_place():
    changed = schema().with_field("mu1_eta", unit="rad")
    assert changed["mu1_eta"].unit == "rad"
    assert changed.names == schema().names
    assert [f for f in changed if f.name != "mu1_eta"] == [
        f for f in schema() if f.name != "mu1_eta"
    ]


def test_with_roles_sets_exactly_these_conditions():
    assert schema().with_roles() == schema()
    changed = schema().with_roles(conditions=["mu1_pt"])
    assert changed.with_role("condition") == ("mu1_pt",)
    assert changed.weight == "w"
    assert schema().with_roles(conditions=[]).with_role("condition") == ()
    with pytest.raises(SchemaError, match="'w' is the event weight; it cannot be a condition"):
        schema().with_roles(conditions=["w"])
    with pytest.raises(SchemaError, match="no field 'nope'"):
        schema().with_roles(conditions=["nope"])


def test_json_round_trip_is_exact():
    assert Schema.from_dict(json.loads(json.dumps(schema().to_dict()))) == schema()


def test_from_dict_refuses_unknown_properties():
    stored = schema().to_dict()
    stored["fields"][0]["colour"] = "red"
    with pytest.raises(TypeError, match="colour"):
        Schema.from_dict(stored)


def test_a_schema_does_not_share_the_conventions_of_its_maker():
    conventions = {"a": "1"}
    s = Schema((Field("x"),), conventions)
    conventions["a"] = "2"
    assert s.conventions == {"a": "1"}
