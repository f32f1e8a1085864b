"""Cuts: expressions of columns that keep or drop an event.

The grammar is a small part of Python's: numbers, column names, arithmetic, comparisons (chains
too), ``and``, ``or``, ``not`` and a few functions. It is walked by hand over numpy arrays, so a
cut from a configuration file cannot run code.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from physgen.schema import SchemaError, no_such_field

__all__ = ["Cut"]

_FUNCTION_NAMES = """
    abs arccos arcsin arctan arctan2 ceil cos cosh exp floor hypot isfinite log log10 log1p
    maximum minimum sign sin sinh sqrt tan tanh
""".split()  # noqa: SIM905  (24 quoted words would hide what they are)
_FUNCTIONS: dict[str, Callable[..., Any]] = {name: getattr(np, name) for name in _FUNCTION_NAMES}
_OF_TWO = {"arctan2", "hypot", "maximum", "minimum"}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.power,
}
_LOGIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.BitAnd: np.logical_and,
    ast.BitOr: np.logical_or,
    ast.BitXor: np.logical_xor,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
}
_MAX_LENGTH = 4096
_MAX_SHOWN = 200


@dataclass(frozen=True)
class Cut:
    """A parsed cut.

    Parameters
    ----------
    expression : str
        For example ``"mu1_pt > 30 and abs(mu1_eta) < 2.4"``; ``len(Jet_pt)`` is the multiplicity
        of a jagged column, ``pi`` is known. Numbers are computed in float64 or int64, as ROOT
        would, whatever the type of the column.
    columns : collection of str
        Names that the expression may use.

    Raises
    ------
    SchemaError
        If a name is no column.
    ValueError
        If the expression uses anything but the grammar above.

    Examples
    --------
    >>> cut = Cut("20 < pt and not tag", ["pt", "eta", "tag"])
    >>> cut.names
    ('pt', 'tag')
    >>> cut({"pt": np.array([10.0, 30.0, 40.0]), "tag": np.array([False, True, False])})
    array([False, False,  True])
    """

    expression: str
    columns: Collection[str]

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in self.columns:
                message = no_such_field(
                    name, tuple(self.columns), f"the cut {_shown(self.expression)}"
                )
                raise SchemaError(message)

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that the cut uses, in order of appearance."""
        found: dict[str, None] = {}
        with _explained(self.expression):
            _collect(self._tree, found)
        return tuple(name for name in found if name != "pi" or name in self.columns)

    @property
    def _tree(self) -> ast.expr:
        if len(self.expression) > _MAX_LENGTH:
            raise _CutError(f"the cut is longer than {_MAX_LENGTH} characters")
        try:
            return ast.parse(self.expression.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise _CutError(
                f"cannot read the cut {_shown(self.expression)}: {error}; write it like "
                "'pt > 30 and abs(eta) < 2.4', with and, or, not instead of &&, ||, !"
            ) from None

    def __call__(self, columns: Mapping[str, Any]) -> np.ndarray:
        """Return the mask of the events to keep, bool of shape (n_events,).

        Parameters
        ----------
        columns : mapping of str to array
            At least the columns of :attr:`names`; not-a-numbers compare as false.
        """
        # a cut like log(x) > 1 may meet x = 0; the answer False is what is wanted
        with np.errstate(all="ignore"), _explained(self.expression):
            mask = np.asarray(_value(self._tree, columns, self.expression))
        n_events = {len(columns[name]) for name in self.names}
        if mask.dtype != bool:
            raise _CutError(
                f"the cut {_shown(self.expression)} gives numbers; compare them: '... > 0'"
            )
        if {mask.shape} != {(n,) for n in n_events}:
            raise _CutError(
                f"the cut {_shown(self.expression)} must give one answer per event, but gives an "
                f"array of shape {mask.shape}; cut on columns with one number per event, or "
                "hand over a function of the events"
            )
        return mask


class _CutError(ValueError):
    """What is wrong with a cut, in a sentence."""


@contextlib.contextmanager
def _explained(expression: str) -> Iterator[None]:
    """Turn what numpy and Python say about an expression into a sentence about the cut."""
    try:
        yield
    except _CutError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise _CutError(f"the cut {_shown(expression)} cannot be computed: {error}") from error


def _collect(node: ast.AST, found: dict[str, None]) -> None:
    match node:
        case ast.Name(id=name):
            found[name] = None
        case ast.Attribute():
            found[ast.unparse(node)] = None
        case ast.Call(func=ast.Name(), args=arguments):
            for argument in arguments:
                _collect(argument, found)
        case _:
            for child in ast.iter_child_nodes(node):
                _collect(child, found)


def _value(node: ast.expr, columns: Mapping[str, Any], expression: str) -> Any:
    def value(child: ast.expr) -> Any:
        return _value(child, columns, expression)

    match node:
        case ast.Constant(value=bool() | int() | float() as number):
            return _promoted(np.asarray(number), expression)
        case ast.Name(id=name) if name in columns:
            return _promoted(columns[name], name)
        case ast.Name(id="pi"):
            return np.float64(np.pi)
        case ast.Attribute() if (name := ast.unparse(node)) in columns:
            return _promoted(columns[name], name)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return np.logical_not(value(operand))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return np.negative(value(operand))
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return value(operand)
        case ast.BoolOp(op=op, values=values):
            join = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return join.reduce(np.broadcast_arrays(*(value(v) for v in values)))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _ARITHMETIC[type(op)](value(left), value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _LOGIC:
            return _logical(op, value(left), value(right), expression)
        case ast.Compare(left=first, ops=ops, comparators=rest) if _comparable(ops):
            terms = [value(term) for term in (first, *rest)]
            parts = [_COMPARISONS[type(op)](*terms[i : i + 2]) for i, op in enumerate(ops)]
            return np.logical_and.reduce(np.broadcast_arrays(*parts))
        case ast.Call(func=ast.Name(id="len"), args=[ast.Name(id=name)], keywords=[]) if (
            name in columns
        ):
            return _multiplicity(columns[name])
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _call(name, [value(argument) for argument in args], expression)
    raise _CutError(
        f"the cut {_shown(expression)} uses {_shown(ast.unparse(node))}, which cuts do not know; "
        "use columns, numbers, arithmetic, comparisons, and, or, not, len and "
        f"{', '.join(_FUNCTIONS)}"
    )


def _comparable(ops: list[ast.cmpop]) -> bool:
    return all(type(op) in _COMPARISONS for op in ops)


def _promoted(column: Any, name: str) -> Any:
    if not isinstance(column, np.ndarray):
        raise _CutError(
            f"{name!r} is jagged, and a cut needs one number per event; use len({name}) for its "
            "multiplicity, or hand over a function of the events"
        )
    if column.dtype.kind == "f":
        return column.astype(np.float64, copy=False)
    # small integers would wrap around: a pixel of 200 plus 100 is not 44
    if column.dtype.kind in "iu" and column.dtype != np.uint64:
        return column.astype(np.int64, copy=False)
    if column.dtype.kind in ("b", "u"):
        return column
    raise _CutError(f"a number in the cut {_shown(name)} is too large for 64 bits")


def _logical(op: ast.operator, left: Any, right: Any, expression: str) -> Any:
    # 'pt > 30 & tag' means 'pt > (30 & tag)': refuse it rather than surprise
    if left.dtype != bool or right.dtype != bool:
        raise _CutError(
            f"the cut {_shown(expression)} uses &, | or ^ between numbers; write and, or, or put "
            "brackets around the comparisons"
        )
    return _LOGIC[type(op)](left, right)


def _call(name: str, arguments: list[Any], expression: str) -> Any:
    n_arguments = 2 if name in _OF_TWO else 1
    if len(arguments) != n_arguments:
        raise _CutError(
            f"the cut {_shown(expression)} gives {name} {len(arguments)} arguments; it takes "
            f"{n_arguments}"
        )
    return _FUNCTIONS[name](*arguments)


def _multiplicity(column: Any) -> np.ndarray:
    if isinstance(column, np.ndarray):
        return np.full(len(column), column[0].size if len(column) else 0)
    import awkward as ak

    return np.asarray(ak.num(column, axis=1), dtype=np.int64)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}...")
