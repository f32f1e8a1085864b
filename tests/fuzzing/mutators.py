"""Damage: from a valid input and a random generator to a damaged one."""

import struct

NUMBERS = (
    0,
    1,
    -1,
    7,
    127,
    128,
    255,
    256,
    65535,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**60,
    2**63 - 1,
    -(2**31),
    -(2**63),
)
TEXTS = (
    "",
    "\x00",
    "\x1b[2J\x1b]0;owned\x07",
    "../../etc/passwd",
    "a" * 5000,
    "<script>alert(1)</script>",
    "$\\frac{$",
    "\u202egnp.exe",
    "\ud800",
    "é",
    "nan",
    "inf",
    "1e999",
    "9" * 5000,
    "%s%n",
    "{0}",
)


class Bytes:
    """Damages bytes; knows where a file has something in it and not only zeros."""

    def __init__(self, seeds):
        self.seeds = seeds
        self._filled = [[i for i, b in enumerate(s) if b] for s in seeds]

    def __call__(self, rng):
        which = rng.randrange(len(self.seeds))
        content = bytearray(self.seeds[which])
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
            if not content:
                break
            at = self._place(rng, which, len(content))
            rng.choice(_DAMAGE)(content, at, rng, self.seeds)
        return bytes(content)

    def _place(self, rng, which, size):
        filled = self._filled[which]
        return min(rng.choice(filled) if rng.random() < 0.8 else rng.randrange(size), size - 1)


def _flip(content, at, rng, _):
    content[at] ^= 1 << rng.randrange(8)


def _set(content, at, rng, _):
    content[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))


def _number(content, at, rng, _):
    """A count, a size or an offset of a header, in any width and byte order."""
    width, code = rng.choice(((2, "H"), (4, "I"), (4, "I"), (8, "Q"), (8, "Q")))
    if rng.random() < 0.5:
        at -= at % width
    value = rng.choice(
        (*NUMBERS, len(content), len(content) - 1, len(content) + 1, rng.getrandbits(64))
    )
    content[at : at + width] = struct.pack(rng.choice("<>") + code, value % (1 << 8 * width))


def _nudge(content, at, rng, _):
    content[at] = (content[at] + rng.choice((-1, 1))) % 256


def _cut(content, at, rng, _):
    del content[at:]


def _delete(content, at, rng, _):
    del content[at : at + rng.choice((1, 2, 4, 8, 64))]


def _insert(content, at, rng, _):
    content[at:at] = rng.randbytes(rng.choice((1, 2, 4, 8)))


def _zero(content, at, rng, _):
    n = min(rng.choice((1, 4, 8, 64, 512)), len(content) - at)
    content[at : at + n] = bytes(n)


def _splice(content, at, rng, seeds):
    other = rng.choice(seeds)
    start, n = rng.randrange(len(other)), rng.choice((4, 8, 32, 256))
    content[at : at + n] = other[start : start + n]


def _append(content, at, rng, _):
    content += rng.randbytes(rng.choice((1, 16, 300)))


_DAMAGE = (
    _flip,
    _flip,
    _set,
    _set,
    _number,
    _number,
    _number,
    _nudge,
    _nudge,
    _cut,
    _delete,
    _insert,
    _zero,
    _splice,
    _append,
)


def of_text(words):
    """A damager of texts: swaps, repeats, removes and adds tokens."""

    def damage(text, rng):
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.randrange(len(text) + 1)
            end = min(len(text), at + rng.choice((0, 0, 1, 2, 5, 20)))
            text = text[:at] + rng.choice(words) + text[end:]
        return text

    return damage


def plain_value(rng):
    """Any value that JSON can say, the worst ones first."""
    kind = rng.randrange(9)
    if kind < 3:
        return rng.choice((*NUMBERS, 10**400, 1.5, 1e308, -0.0))
    if kind < 5:
        return rng.choice(TEXTS[:8] + TEXTS[9:])
    return rng.choice(
        (
            None,
            True,
            [],
            {},
            [[]],
            {"kind": "Diffusion"},
            float("nan"),
            float("inf"),
            [1e300] * 3,
            {"": None},
            [None],
            [10**9, 10**9],
        )
    )


def damaged_tree(value, rng):
    """The JSON value with one of its nodes replaced, removed, doubled or moved."""
    spots = list(_spots(value))
    if not spots:
        return plain_value(rng)
    holder, key = rng.choice(spots)
    kind = rng.randrange(8)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder[:] = holder * rng.choice((2, 3))
    elif kind == 2:
        other, at = rng.choice(spots)
        holder[key] = other[at] if not _contains(other[at], holder) else None
    elif kind == 3 and isinstance(holder, dict):
        holder[rng.choice(TEXTS[:8])] = holder[key]
    elif kind == 4 and isinstance(holder[key], int | float):
        holder[key] = holder[key] * rng.choice((-1, 0, 2, 1000, 10**9))
    else:
        holder[key] = plain_value(rng)
    return value


def _spots(value):
    keys = (
        value.keys()
        if isinstance(value, dict)
        else range(len(value))
        if isinstance(value, list)
        else ()
    )
    for key in keys:
        yield value, key
        yield from _spots(value[key])


def _contains(value, holder):
    return value is holder or any(
        _contains(v, holder)
        for v in (
            value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        )
    )
