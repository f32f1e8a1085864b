import dataclasses
import html.parser
import re
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import physgen as pg
from physgen.metrics.copies import memorization
from physgen.report.figures import interval
from physgen.report.findings import Picture, Slice
from physgen.report.page import as_html
from physgen.report.report import Report

NAMES = ["<script>alert(1)</script>", r"$\frac{$", "a_b^{c}", 'x" onload="y', "--> & </svg>"]
LONG = "a name that somebody made up without a thought of the width of any page at all"
UNIT = "<b>$GeV_1"


@pytest.fixture(scope="module")
def report():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, 400))
    x[1, 1] += 0.6
    a, b = (
        pg.Events.from_dict(
            dict(zip([*NAMES, LONG], v, strict=True)) | {"run": np.ones(400)},
            units={NAMES[0]: UNIT, NAMES[1]: UNIT},
        )
        for v in x
    )
    return pg.compare(a, b, rng=0)


@pytest.fixture(scope="module")
def text(report):
    return as_html(report)


@pytest.fixture(scope="module")
def full(report):
    """A report with everything that a page can show."""
    rng = np.random.default_rng(1)
    train, test, candidate = rng.normal(size=(3, 300, 2))
    candidate[:30] = train[:30]
    means = rng.normal(size=(3, 12, 12))
    lattices = rng.choice([-1, 1], size=(2, 4, 12, 12))
    showers = rng.exponential(size=(2, 3, 6, 4)) ** 4
    worst = NAMES[0]
    return dataclasses.replace(
        report,
        n_effective=(321.0, 234.0),
        slices=(
            Slice("<i>T 2.0", (200, 190), worst, 0.5, 0.4, 0.6, 0.3, 0.001),
            Slice("T 2.5", (200, 210), worst, 0.0, 0.0, 9.0, 0.0, 1.0),
        ),
        pictures=(
            Picture("<i>spins", "", means[0], means[1], 5 * means[2], tuple(lattices)),
            Picture("showers", UNIT, *(s.mean(axis=0) for s in showers), means[2, :6, :4],
                    tuple(showers)),
        ),
        memorization=memorization(candidate, train, test, rng=0),
        n_leaked=3,
    )  # fmt: skip


@pytest.fixture(scope="module")
def full_text(full):
    return as_html(full)


@pytest.fixture(scope="module")
def bare(report):
    return dataclasses.replace(
        report, joint={}, correlations=None, classifier=None, histograms=(), drivers=(), notes=()
    )


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.words, self.ids = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not [k for k, _ in attrs if k.startswith("on")]
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data")]
        self.ids += [v for k, v in attrs if k == "id"]

    def handle_data(self, data):
        self.words.append(data)


def headings(text):
    return re.findall("<h2>(.*?)</h2>", text)


def drawings(text):
    return [ET.fromstring(svg) for svg in re.findall(r"<svg .*?</svg>", text, re.DOTALL)]


def texts(svg):
    return ["".join(e.itertext()) for e in svg.iter() if e.tag.endswith("text")]


# ---------------------------------------------------------------- nothing from elsewhere


def test_the_page_needs_nothing_else(full_text):
    page = Page(full_text)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert not {"script", "link", "iframe", "object", "embed", "img"} & set(page.tags)
    assert "@import" not in full_text
    assert re.findall(r"url\((?!#)", full_text) == []


def test_names_are_escaped_everywhere(full_text):
    keys = re.sub(r'<i class="\w+"></i>', "", full_text)  # the only italics are those of the key
    assert not {"script", "b", "i"} & set(Page(keys).tags)
    for name in (NAMES[0], UNIT, "<i>spins", "<i>T 2.0", "alert(1)</"):
        assert name not in full_text
    assert full_text.count("</svg>") == full_text.count("<svg ")
    assert len(drawings(full_text)) == full_text.count("<svg ")  # each of them well-formed


def test_names_are_no_formulas(text):
    shown = [t for svg in drawings(text) for t in texts(svg)]
    for label in (f"{NAMES[0]} [{UNIT}]", f"{NAMES[1]} [{UNIT}]", *NAMES[2:]):
        assert label in shown


def test_long_names_are_whole_in_the_text_and_short_in_figures(text):
    shown = [t for svg in drawings(text) for t in texts(svg)]
    assert LONG not in shown
    assert any("…" in t and t.startswith(LONG[:10]) for t in shown)
    assert f"<figcaption>{LONG}</figcaption>" in text


def test_no_name_is_given_twice(full_text):
    ids = Page(full_text).ids
    assert len(ids) == len(set(ids))


def test_the_page_is_the_same_for_the_same_report(report, text, tmp_path):
    report.save(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == text


# ---------------------------------------------------------------- what is on it, and where


def test_order_of_the_sections(text, full_text):
    first = ["Observables, the worst first", "Where it fails", "Distributions", "Correlations",
             "What a classifier sees"]  # fmt: skip
    last = ["What this report cannot say", "Notes", "Settings, versions, seed"]
    assert headings(text) == [*first, *last]
    between = ["At each condition", "Pictures", "Copies"]
    assert headings(full_text) == [*first, *between, *last]


def test_the_page_opens_with_the_verdict(report, text):
    words = " ".join(Page(text).words)
    assert words.index("FAIL") < words.index("Observables, the worst first")
    assert report.verdict.partition(": ")[2][1:] in words
    for part in ("400 events", "seed", "numpy", "floor", "good for", str(report.worth)):
        assert part in words


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        ("pass", "PASS"),
        ("pass with difference", "PASS"),
        ("inconclusive", "INCONCLUSIVE"),
        ("fail", "FAIL"),
    ],
)
def test_the_traffic_light_says_it_without_color(bare, monkeypatch, outcome, word):
    monkeypatch.setattr(Report, "_decision", (outcome, f"{word}: because."))
    text = as_html(dataclasses.replace(bare))
    assert f'class="verdict {outcome.replace(" ", "-")}"' in text
    assert f'aria-label="{outcome}"' in text
    assert f"<strong>{word}" in text
    assert ("difference seen</strong>" in text) == (outcome == "pass with difference")
    # the sign in the lamp is shown by the style of this outcome alone
    assert f".{outcome.replace(' ', '-')} .lamp." in text


def test_effective_numbers_only_with_weights(text, full_text):
    assert "effective, with weights" not in text
    assert "321 and 234 events" in full_text
    assert "Event weights do not enter" in full_text


def test_the_table_has_every_observable_in_order(report, text):
    rows = re.findall(r'<th scope="row">(.*?)</th>', text)
    page = [" ".join(Page(row).words) for row in rows]
    assert page[: len(report.table)] == [row.label for row in report.table]
    assert text.count('<tr class="seen"><th scope="row">$\\frac{$') == 1


def test_distributions_are_drawn_the_worst_first_and_folded(report, text):
    start, stop = (text.index(f"<h2>{h}</h2>") for h in ("Distributions", "Correlations"))
    section = text[start:stop]
    assert section.count("<figure") == len(report.histograms) == 7
    shown, folded = section.split("<details>")
    assert (shown.count("<figure"), folded.count("<figure")) == (6, 1)


def test_where_it_fails_names_the_range_and_draws_the_pulls(text):
    start, stop = (text.index(f"<h2>{h}</h2>") for h in ("Where it fails", "Distributions"))
    section = text[start:stop]
    assert "too many events above" in section
    assert section.count("<figure") == 1
    assert "stroke-dasharray" in section  # the range is shaded and framed


def test_slices_are_drawn_and_listed(full_text):
    assert '<tr class="seen"><th scope="row">&lt;i&gt;T 2.0</th><td>200</td>' in full_text
    assert "0.40–0.60" in full_text
    assert any("<i>T 2.0" in texts(svg) for svg in drawings(full_text))


def test_pictures_are_pixels_inside_the_page(full_text):
    section = full_text[full_text.index("<h2>Pictures") : full_text.index("<h2>Copies")]
    assert section.count("<figure") == 8
    # an array and its scale in every figure: nothing is drawn cell by cell
    assert section.count("data:image/png;base64,") >= 8 * 2
    assert len(section) < 300_000
    assert "showers [&lt;b&gt;$GeV_1]" in section


def test_copies_are_told_with_their_rows(full_text):
    section = full_text[
        full_text.index("<h2>Copies") : full_text.index("<h2>What this report cannot say")
    ]
    assert "3 of 400 candidate events equal a reference event" in section
    assert '<tr class="seen"><th scope="row">equal events</th><td>30</td>' in section
    assert "rows 0, 1, 2, 3" in section


def test_a_report_without_anything_to_draw(bare):
    shown = headings(as_html(bare))
    assert "Distributions" not in shown
    assert "Correlations" not in shown
    assert "Where it fails" in shown


def test_nothing_fails_where_nothing_is_seen(bare):
    table = tuple(dataclasses.replace(row, p_value=1.0) for row in bare.table)
    text = as_html(dataclasses.replace(bare, table=table))
    assert "no kind of event stands out at level 0.01" in text


# ---------------------------------------------------------------- lightness


def test_a_page_of_twenty_observables_is_light(report):
    many = dataclasses.replace(
        report, table=3 * report.table, histograms=(3 * report.histograms)[:20]
    )
    start = time.process_time()
    text = as_html(many)
    assert time.process_time() - start < 10
    assert len(text.encode()) < 1_500_000


def test_the_small_interval_ends_with_an_arrow():
    inside, beyond = interval(0.05, 0.1, 0.2, 0.1), interval(0.3, 0.5, 0.9, 0.1)
    assert 'd="M14.0 7H50.0"' in inside
    assert 'cx="26.0"' in inside
    assert 'class="tolerance" d="M26.0 0v14"' in inside
    assert "M98" not in inside
    assert "M98" in beyond
    assert 'cx="98.0"' in beyond


# ---------------------------------------------------------------- the documented schema


def keys_of(value):
    """Names of the fields of a report as it is in JSON; those that users choose left out."""
    if isinstance(value, list):
        for entry in value[:2]:
            yield from keys_of(entry)
    elif isinstance(value, dict):
        for key, entry in value.items():
            if key not in ("settings", "versions", "joint"):
                yield from keys_of(entry)
            yield key


def test_every_field_of_the_json_is_documented(full):
    page = Path(__file__).parents[1] / "docs" / "report.md"
    text = page.read_text(encoding="utf-8").partition("## report.json")[2]
    documented = set(re.findall(r"`(\w+)`", text))
    assert set(keys_of(full.to_dict())) <= documented
    assert "verdict" in documented
    assert "undocumented" not in documented
