"""Many files read as one: which are meant, in which order, and what they must agree in."""

import numpy as np
import pytest

from physgen.events import Events
from physgen.files import event_files, iter_events, read_events, write_events
from physgen.schema import Field, Schema, SchemaError


def numbers(first, stop, **conventions):
    schema = Schema((Field("i", "int64"), Field("x", "float32", unit="GeV")), conventions)
    i = np.arange(first, stop)
    return Events(schema, {"i": i, "x": (i / 7).astype(np.float32)})


@pytest.fixture
def parts(tmp_path):
    """Events 0 to 29; part10 holds the last of them."""
    for name, first, stop in (("part1.h5", 0, 10), ("part2.root", 10, 25), ("part10.h5", 25, 30)):
        write_events(tmp_path / name, numbers(first, stop))
    return tmp_path


def test_patterns_are_in_the_order_of_their_numbers(parts):
    names = ["part1.h5", "part2.root", "part10.h5"]
    assert [file.name for file in event_files(parts / "part*")] == names
    assert [file.name for file in event_files([parts / names[2], f"{parts}/part?.*"])] == [
        names[2], *names[:2]
    ]  # fmt: skip
    assert event_files("no/such.root")[0].name == "such.root"  # said when it is opened


def test_a_file_whose_name_looks_like_a_pattern(parts):
    write_events(parts / "a[1].h5", numbers(0, 3))
    assert [file.name for file in event_files(parts / "a[1].h5")] == ["a[1].h5"]


def test_paths_that_mean_nothing_or_too_much(parts):
    with pytest.raises(FileNotFoundError, match=r"no file fits the pattern '.*none\*\.h5'"):
        event_files(parts / "none*.h5")
    with pytest.raises(ValueError, match="no file to read was given"):
        event_files([])
    with pytest.raises(ValueError, match=r"part1\.h5 is given 2 times"):
        event_files([parts / "part1.h5", parts / "part*"])


def test_many_files_are_one_sample(parts):
    events = read_events(parts / "part*")
    assert events["i"].tolist() == list(range(30))
    assert events.schema == numbers(0, 1).schema
    few = read_events(parts / "part*", fields=iter(["i"]), cut="x > 1 and i != 26")
    assert few["i"].tolist() == [*range(8, 26), 27, 28, 29]
    pieces = iter_events(parts / "part*", max_memory="1 kB")
    assert np.concatenate([piece["i"] for piece in pieces]).tolist() == list(range(30))


@pytest.mark.parametrize("span", [(None, 7), (12, 26), (10, None), (-6, None), (3, -4), (25, 30)])
def test_a_range_counts_through_all_files(parts, span):
    wanted = list(range(30))[slice(*span)]
    assert read_events(parts / "part*", start=span[0], stop=span[1])["i"].tolist() == wanted


def test_a_range_without_events(parts):
    with pytest.raises(ValueError, match="holds none of the 30 events of the 3 files"):
        read_events(parts / "part*", start=30)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Events.from_dict({"i": np.arange(3)}), "fields x are not in both"),
        (numbers(0, 3, hamiltonian="another"), None),
        (numbers(0, 3).with_columns({"x": np.arange(3.0)}), "dtype 'float32' and 'float64'"),
    ],
)
def test_files_that_do_not_agree(parts, other, words):
    write_events(parts / "part11.h5", other)
    if words is None:  # a convention that only some have is kept
        assert read_events(parts / "part*").schema.conventions == {"hamiltonian": "another"}
        write_events(parts / "part12.h5", numbers(0, 3, hamiltonian="a third"))
        words = "convention 'hamiltonian' is 'another' in one part and 'a third' in another"
    with pytest.raises(SchemaError, match=rf"part1\d\.h5 does not continue .*{words}"):
        read_events(parts / "part*")


def test_how_files_were_sampled_may_differ(parts):
    for k, text in ((11, "29 sweeps"), (12, "9 sweeps")):
        write_events(parts / f"part{k}.h5", numbers(k, k + 1, sampling=text, spin_up="+1"))
    assert read_events(parts / "part1[12].h5").schema.conventions == {"spin_up": "+1"}
    assert read_events(parts / "part11.h5").schema.conventions["sampling"] == "29 sweeps"


def test_a_damaged_file_among_many_is_named(parts):
    (parts / "part3.h5").write_bytes((parts / "part1.h5").read_bytes()[:2000])
    with pytest.raises(OSError, match=r"part3\.h5"):
        read_events(parts / "part*")
