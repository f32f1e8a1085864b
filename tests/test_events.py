"""Events: what goes in comes out to the bit, and what does not fit is refused by name."""

import awkward as ak
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from physgen import Events, Field, Schema, SchemaError, concatenate


def of(field, column):
    return Events(Schema((field,)), {field.name: column})


def same(a, b):
    return a.schema == b.schema and all(
        ak.array_equal(a[n], b[n], dtype_exact=True) for n in a.schema.names
    )


# ---------------------------------------------------------------- columns and schema


@pytest.mark.parametrize(
    "dtype",
    [
        "bool",
        "int8",
        "uint8",
        "int16",
        "int32",
        "int64",
        "uint64",
        "float16",
        "float32",
        "float64",
    ],
)
def test_columns_keep_their_type_and_bits(dtype):
    values = np.random.default_rng(0).integers(0, 2, 64).astype(dtype)
    events = Events.from_dict({"a": values, "J_a": ak.unflatten(values, [30, 0, 34] + [0] * 61)})
    assert events["a"].dtype == dtype
    assert events["a"].tobytes() == values.tobytes()
    assert ak.flatten(events["J_a"]).to_numpy().dtype == dtype
    assert events.schema["a"].dtype == events.schema["J_a"].dtype == dtype


def test_nan_payloads_survive():
    bits = np.array([0x7FC00001, 0xFF800000, 0x80000000], dtype=np.uint32)
    values = bits.view(np.float32)
    assert (Events.from_dict({"x": values})["x"].view(np.uint32) == bits).all()


def test_big_endian_columns_become_native():
    values = np.arange(3, dtype=">f4")
    column = Events.from_dict({"x": values})["x"]
    assert column.dtype.isnative
    assert (column == values).all()


def test_missing_and_unknown_columns_are_named():
    schema = Schema((Field("mu1_pt"), Field("met"), Field("ht")))
    with pytest.raises(SchemaError, match=r"no column given for the field\(s\) met, ht"):
        Events(schema, {"mu1_pt": [1.0]})
    with pytest.raises(
        SchemaError, match=r"no field 'mu_pt' in the schema; did you mean 'mu1_pt'"
    ):
        Events(schema, {"mu_pt": [1.0]})


def test_unequal_lengths_are_told_with_numbers():
    with pytest.raises(SchemaError, match="lengths differ: a 3, b 2"):
        Events.from_dict({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0]})


def test_unequal_multiplicities_are_told_with_the_event():
    schema = Schema(
        tuple(Field(name, jagged=True, collection="Jet") for name in ("Jet_pt", "Jet_eta"))
    )
    with pytest.raises(SchemaError, match="share the collection 'Jet', but event 1 has 0 and 2"):
        Events(schema, {"Jet_pt": [[1.0], [], [2.0]], "Jet_eta": [[1.0], [1.0, 2.0], []]})


@pytest.mark.parametrize(
    ("field", "column", "message"),
    [
        (Field("a", "int32"), [1.5], "holds int32, but its column is float64.*loses information"),
        (Field("a", "bool"), [1, 0], "holds bool, but its column is int64"),
        (Field("a", "float32"), [1j], "but its column is complex128"),
        (Field("a", "float32"), ["x"], "but its column is <U1"),
        (Field("a", "int8"), [1, 300], "reach from 1 to 300, beyond what that type can hold"),
        (Field("a", "uint8"), [-1, 3], "reach from -1 to 3, beyond"),
        (Field("a", "float32"), [1e39], r"reach from 1e\+39 to 1e\+39, beyond"),
        (Field("a", "int8", jagged=True), [[1], [300, 2]], "reach from 1 to 300, beyond"),
        (Field("a", "int8", jagged=True), [[1.5], []], "holds int8, but its column is float64"),
        (Field("a", shape=(3,)), np.zeros((5, 2)), r"shape \(3,\) per event, but .* has \(2,\)"),
        (Field("a"), np.zeros((5, 2)), r"has shape \(\) per event, but its column has \(2,\)"),
        (Field("a"), [[1.0], []], "not jagged, but its column has lists of varying length"),
        (Field("a", jagged=True), [1.0, 2.0], "is jagged, but its column has one entry per event"),
        (Field("a"), [1.0, [2.0]], "'a' holds neither numbers nor lists of numbers"),
    ],
)
def test_columns_that_do_not_fit_their_field(field, column, message):
    with pytest.raises(SchemaError, match=message):
        of(field, column)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (3.0, "column 'a' is a single number; give one entry per event"),
        (["x", "y"], "column 'a' has type <U1; physgen holds numbers"),
        (ak.Array([["x"], []]), "column 'a' holds strings"),
        (np.array(["2020"], dtype="M8"), "physgen holds numbers"),
        (ak.Array([[[1.0]], []]), "'a' is nested 2 levels deep.*flatten it or leave it out"),
        (ak.Array([1.0, None]), r"'a' has the type 2 \* \?float64; .* no missing or mixed values"),
        (ak.Array([[1.0], None]), "'a' has the type .*; physgen holds no missing"),
        (ak.Array([[1.0, None], []]), "'a' has the type .*; physgen holds no missing"),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), "'a' is masked; physgen holds no missing values"),
    ],
)
def test_columns_that_no_field_can_hold(column, message):
    with pytest.raises(SchemaError, match=message):
        Events.from_dict({"a": column})


def test_casts_that_lose_nothing_of_their_kind():
    assert of(Field("a", "float32"), [0.1])["a"][0] == np.float32(0.1)
    assert of(Field("a", "uint8"), [3, 255])["a"].tolist() == [3, 255]
    assert of(Field("a", "float32"), [3])["a"].dtype == np.float32
    assert of(Field("a", "float32"), [np.inf, np.nan])["a"][0] == np.inf
    jagged = of(Field("a", "uint8", jagged=True), [[1, 2], [], [3]])
    assert jagged["a"].to_list() == [[1, 2], [], [3]]
    assert jagged["a"].layout.content.dtype == np.uint8


def test_a_torch_column_becomes_numpy():
    column = torch.ones(3, 2, requires_grad=True)
    assert Events.from_dict({"v": column}).schema["v"].shape == (2,)


def test_regular_lists_fit_a_jagged_field():
    events = of(Field("a", jagged=True), [[1.0, 2.0], [3.0, 4.0]])
    assert events.multiplicity("a").tolist() == [2, 2]
    assert of(Field("a", jagged=True), []).multiplicity("a").tolist() == []
    assert of(Field("a", jagged=True), [[], []]).multiplicity("a").tolist() == [0, 0]


def test_jagged_columns_of_one_prefix_and_length_are_one_collection(jets):
    assert jets.schema.collections == {"Jet": ("Jet_pt", "Jet_eta")}
    assert jets.multiplicity("Jet_pt").tolist() == [1, 0, 2, 3, 0, 1]


def test_jagged_columns_of_one_prefix_and_unequal_length_stay_apart():
    one, other = ak.Array([[1.0], []]), ak.Array([[], [1.0]])
    together = {"J_a": one, "J_b": other}
    interleaved = {"J_a": one, "M_a": one, "J_b": other}
    assert Events.from_dict(together).schema.collections == {"J_a": ("J_a",), "J_b": ("J_b",)}
    assert Events.from_dict(interleaved).schema.collections == {
        "J_a": ("J_a",),
        "M": ("M_a",),
        "J_b": ("J_b",),
    }


def test_from_dict_units_and_conventions():
    events = Events.from_dict({"pt": [1.0]}, units={"pt": "GeV"}, conventions={"a": "b"})
    assert events.schema["pt"].unit == "GeV"
    assert events.schema.conventions == {"a": "b"}
    with pytest.raises(SchemaError, match="no field 'pz'"):
        Events.from_dict({"pt": [1.0]}, units={"pz": "GeV"})


# ---------------------------------------------------------------- taking parts


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        (slice(1, 4), [1, 2, 3]),
        (slice(None, None, -2), [5, 3, 1]),
        ([5, 0, 0, -2], [5, 0, 0, 4]),
        (np.array([True, False, False, True, False, True]), [0, 3, 5]),
        ([True, False, False, True, False, True], [0, 3, 5]),
        (torch.tensor([2, 1]), [2, 1]),
        (torch.tensor([False, True, False, False, True, False]), [1, 4]),
        (slice(0, 0), []),
        ([], []),
        (np.zeros(6, dtype=bool), []),
    ],
)
def test_rows(jets, key, rows):
    part = jets[key]
    assert len(part) == len(rows)
    assert part.schema == jets.schema
    for name in jets.schema.names:
        assert ak.to_list(part[name]) == [ak.to_list(jets[name])[i] for i in rows]


def test_list_of_names(jets):
    part = jets[["Jet_eta", "x"]]
    assert part.schema.names == ("Jet_eta", "x")
    assert jets["x", "n"].schema.names == ("x", "n")
    with pytest.raises(SchemaError, match="no field 'Jet_phi'; did you mean 'Jet_pt'"):
        jets[["x", "Jet_phi"]]


def test_a_column_is_not_copied(jets):
    assert jets["x"] is jets["x"]
    assert jets.to_dict()["x"] is jets["x"]


def test_keys_that_are_refused(jets):
    with pytest.raises(SchemaError, match="no field 'y'"):
        jets["y"]
    with pytest.raises(TypeError, match=r"one event is not Events; write events\[3:4\]"):
        jets[3]
    with pytest.raises(TypeError, match="one event is not Events"):
        jets[np.int64(3)]
    with pytest.raises(IndexError, match="the mask has 5 entries for 6 events"):
        jets[np.ones(5, dtype=bool)]
    with pytest.raises(IndexError, match="out of bounds"):
        jets[[6]]
    with pytest.raises(TypeError, match="Events are columns"):
        iter(jets)


@given(
    n_events=st.integers(0, 200),
    fractions=st.lists(st.floats(0.01, 0.3), min_size=1, max_size=3),
    seed=st.integers(-(2**63), 2**63 - 1),
)
def test_split_is_disjoint_complete_and_in_order(n_events, fractions, seed):
    events = Events.from_dict({"i": np.arange(n_events)})
    parts = events.split(*fractions, rng=seed)
    assert len(parts) == len(fractions) + 1
    assert sorted(np.concatenate([p["i"] for p in parts])) == list(range(n_events))
    for part, fraction in zip(parts, fractions, strict=False):
        assert (np.diff(part["i"]) > 0).all()
        assert abs(len(part) - fraction * n_events) <= 1


def test_split_is_made_by_its_rng_alone():
    events = Events.from_dict({"i": np.arange(1000)})
    first = events.split(0.5, rng=3)[0]["i"]
    torch.rand(3)
    assert (first == events.split(0.5, rng=3)[0]["i"]).all()
    assert (first != events.split(0.5, rng=4)[0]["i"]).any()
    generator = torch.Generator().manual_seed(0)
    one, two = (events.split(0.5, rng=generator)[0]["i"] for _ in range(2))
    assert (one != two).any()
    # a fair draw: the mean of 500 out of 0..999 without replacement has sigma 9.1 / sqrt(2)
    assert abs(first.mean() - 499.5) < 4 * 9.14


def test_split_does_not_move_the_global_generator(jets):
    state = torch.get_rng_state()
    jets.split(0.5, rng=0)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("fractions", [(), (0.0,), (-0.1,), (1.0,), (0.6, 0.4), (0.9, 0.2)])
def test_split_refuses_fractions(jets, fractions):
    with pytest.raises(ValueError, match="fractions must be positive with a sum below 1"):
        jets.split(*fractions, rng=0)


@pytest.mark.parametrize("rng", [None, 1.0, True, "1"])
def test_split_refuses_what_is_no_rng(jets, rng):
    with pytest.raises(TypeError, match=r"rng must be an integer seed or a torch\.Generator"):
        jets.split(0.5, rng=rng)


# ---------------------------------------------------------------- joining


def test_concatenate_undoes_slicing(jets):
    assert same(concatenate([jets[:2], jets[2:3], jets[3:3], jets[3:]]), jets)
    assert concatenate([jets]) is jets


def test_concatenate_names_the_difference(jets):
    with pytest.raises(SchemaError, match="the list of Events is empty"):
        concatenate([])
    with pytest.raises(SchemaError, match="fields n are not in both"):
        concatenate([jets, jets[["x", "Jet_pt", "Jet_eta"]]])
    with pytest.raises(SchemaError, match="fields in another order are not in both"):
        concatenate([jets[["x", "n"]], jets[["n", "x"]]])
    in_mev = jets.replace_schema(jets.schema.with_field("x", unit="MeV", description="energy"))
    with pytest.raises(SchemaError, match="'x' differs in unit '' and 'MeV'; description"):
        concatenate([jets, in_mev])


def test_concatenate_keeps_conventions_and_refuses_contradictions():
    def with_conventions(**conventions):
        return Events.from_dict({"s": [1.0]}, conventions=conventions)

    joined = concatenate([with_conventions(up="+1"), with_conventions(extrapolated="E")])
    assert joined.schema.conventions == {"up": "+1", "extrapolated": "E"}
    with pytest.raises(SchemaError, match=r"convention 'up' is '\+1' in one part and '-1'"):
        concatenate([with_conventions(up="+1"), with_conventions(up="-1")])


# ---------------------------------------------------------------- awkward and dicts


def test_awkward_round_trip(jets):
    events = jets.with_columns({"v": np.arange(24.0).reshape(6, 2, 2)})
    array = events.to_awkward()
    assert array[3].to_list()["Jet_pt"] == [9.0, 8.0, 7.0]
    assert same(Events.from_awkward(array, events.schema), events)
    assert Events.from_awkward(array).schema.names == events.schema.names
    with pytest.raises(SchemaError, match="needs records with named fields"):
        Events.from_awkward(ak.Array([1.0, 2.0]))


def test_dict_round_trip(jets):
    assert same(Events(jets.schema, jets.to_dict()), jets)


def test_with_columns_adds_at_the_end(jets):
    more = jets.with_columns({"y": jets["x"] * 2}, unit="GeV")
    assert more.schema.names == (*jets.schema.names, "y")
    assert more.schema["y"].unit == "GeV"
    assert "y" not in jets.schema


def test_with_columns_replaces_in_place_and_keeps_unit_and_role():
    events = Events(
        Schema((Field("w", "float32", role="weight", unit="pb", description="d"), Field("x"))),
        {"w": [1.0, 2.0], "x": [0.0, 1.0]},
    )
    new = events.with_columns({"w": np.array([5.0, 6.0])})
    assert new.schema["w"] == Field("w", "float64", role="weight", unit="pb", description="d")
    assert new.schema.names == ("w", "x")
    assert new.weights.tolist() == [5.0, 6.0]
    assert new.with_columns({"w": [1.0, 1.0]}, unit="fb").schema["w"].unit == "fb"


def test_with_columns_of_another_length(jets):
    with pytest.raises(SchemaError, match=r"lengths differ: .*y 2"):
        jets.with_columns({"y": [1.0, 2.0]})


# ---------------------------------------------------------------- weights, finiteness, repr


def test_sha256_tells_columns_apart():
    def digest(x, jets):
        return Events.from_dict({"x": x, "Jet_pt": ak.Array(jets)}).sha256()

    x, jets = np.arange(3.0), [[1.0], [2.0, 3.0], []]
    assert digest(x, jets) == digest(x.copy(), jets)
    others = [digest(x, jets), digest(-x, jets), digest(x, [[1.0, 2.0], [3.0], []])]
    others.append(Events.from_dict({"y": x, "Jet_pt": ak.Array(jets)}).sha256())
    assert len(set(others)) == 4


def test_weights():
    assert Events.from_dict({"x": [1.0, 2.0]}).weights.tolist() == [1.0, 1.0]
    schema = Schema((Field("x"), Field("w", "float32", role="weight")))
    events = Events(schema, {"x": [1.0, 2.0], "w": [0.5, -1.5]})
    assert events.weights.dtype == np.float64
    assert events.weights.tolist() == [0.5, -1.5]


def test_check_finite_names_column_count_and_rows():
    x = np.zeros(20)
    x[[3, 7, 8, 9, 11, 15]] = np.nan
    with pytest.raises(ValueError, match=r"x is NaN or infinite in 6 of 20 events \(first: 3, 7"):
        Events.from_dict({"x": x}).check_finite()
    jagged = ak.Array([[1.0], [], [2.0, np.inf]])
    with pytest.raises(ValueError, match=r"J_a is NaN or infinite in 1 of 3 events \(first: 2\)"):
        Events.from_dict({"J_a": jagged}).check_finite()
    voxels = np.zeros((4, 2, 2))
    voxels[1, 0, 1] = -np.inf
    with pytest.raises(ValueError, match=r"v is NaN or infinite in 1 of 4 events \(first: 1\)"):
        Events.from_dict({"v": voxels}).check_finite()
    Events.from_dict({"x": [1.0], "i": [1], "b": [True]}).check_finite()


def test_repr_is_a_table_of_fields_units_and_ranges():
    schema = Schema(
        (
            Field("pt", unit="GeV"),
            Field("n", "int64", role="condition"),
            Field("s", "int8", shape=(2, 2), allowed=(-1, 1)),
            Field("J", "bool", jagged=True),
            Field("K", jagged=True),
        )
    )
    events = Events(
        schema,
        {
            "pt": [10.123456, 200.5],
            "n": [3, 12345678],
            "s": np.ones((2, 2, 2), dtype=np.int8),
            "J": ak.Array([[True], []]),
            "K": ak.from_numpy(np.zeros((2, 0))),
        },
    )
    assert repr(events).splitlines() == [
        "Events: 2 events, 5 fields",
        "field  unit  type     per event  role        range",
        "pt     GeV   float32  1          observable  10.1235 .. 200.5",
        "n            int64    1          condition   3 .. 12345678",
        "s            int8     2×2        observable  {-1, 1}",
        "J            bool     jagged     observable  1 .. 1",
        "K            float32  jagged     observable  empty",
    ]
    assert repr(events[:1]).startswith("Events: 1 event,")


def test_no_events(jets):
    empty = jets[:0]
    assert len(empty) == 0
    assert len(empty.weights) == 0
    assert [line.split()[-1] for line in repr(empty).splitlines()[2:]] == ["empty"] * 4
    assert [len(p) for p in empty.split(0.5, rng=0)] == [0, 0]
    assert same(concatenate([empty, jets]), jets)
    empty.check_finite()
    assert len(Events(Schema(()), {})) == 0
