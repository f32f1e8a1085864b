"""What several commands share: options, how their words become values, and plain text."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from physgen.packs import PACKS
from physgen.shards import Shard

__all__ = [
    "Count",
    "Flag",
    "Given",
    "Names",
    "Output",
    "Packs",
    "Seed",
    "Sharded",
    "Whole",
    "given_values",
    "pack_names",
    "say",
    "split_names",
]


def _whole(_: Any, tokens: Any) -> int:
    """A whole number, also 1e6 and 1_000; 1.5 is not rounded in silence."""
    text = tokens[0].value
    try:
        return int(text, 0) if text[:2].lower() in ("0x", "0b", "0o") else int(text)
    except ValueError:
        pass
    try:
        number = float(text)
        if number.is_integer() and abs(number) < 1 << 53:
            return int(number)
    except ValueError:
        pass
    raise ValueError(f"a whole number is needed, got {text!r}")


Whole = Parameter(converter=_whole, allow_leading_hyphen=True)
Names = Annotated[
    str | None, Parameter(help="Columns, separated by commas; * and ? are wildcards.")
]
Packs = Annotated[
    str | None,
    Parameter(
        help=f"Observables beside the columns, separated by commas: {', '.join(PACKS)}; or none. "
        "By default those that fit the fields."
    ),
]
Flag = Parameter(negative=(), show_default=False)
Output = Annotated[Path, Parameter(name=["--output", "-o"])]
Count = Annotated[int, Whole, Parameter(name=["--n-events", "-n"])]
Seed = Annotated[int, Whole]
Sharded = Annotated[
    Shard,
    Parameter(
        converter=lambda _, tokens: Shard.parse(tokens[0].value),
        accepts_keys=False,
        n_tokens=1,
        allow_leading_hyphen=True,
        show_default=False,
        help="Make only the k-th of n parts of the events, as k/n. The files of all parts, one "
        "after the other, are the one without this option.",
    ),
]
Given = Annotated[
    list[str] | None,
    Parameter(
        name="--given",
        help="A condition with one value for all events, as name=value; repeatable.",
    ),
]


def split_names(text: str | None) -> list[str] | None:
    """Names of a list with commas."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def pack_names(text: str | None) -> list[str] | Literal[False] | None:
    """Packs of observables by name; False for none of them, None for those that fit."""
    return False if text == "none" else split_names(text)


def given_values(pairs: list[str] | None) -> dict[str, float]:
    """Values of conditions from pairs such as njet=2."""
    values = {}
    for pair in pairs or ():
        name, found, number = pair.partition("=")
        try:
            values[name.strip()] = float(number) if found else float("nope")
        except ValueError:
            raise ValueError(
                f"cannot read --given {pair!r}; write name=number, e.g. njet=2"
            ) from None
    return values


def say(console: Console, text: str) -> None:
    """Print text as it is: names in it may look like markup, and a pipe has no width."""
    console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)
