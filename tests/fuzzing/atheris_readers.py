"""Inputs led by coverage: atheris looks for those that reach a new line of the readers.

    pip install atheris
    python tests/fuzzing/atheris_readers.py idx -max_total_time=60

Options after the name of the reader are libFuzzer's. It stops at the first offender and saves it.
"""

import logging
import random
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=["physgen.files", "physgen.storage"]):
    import readers


class Offender(Exception):
    """A reader that did not take an input as it should."""


def _input(name, reader, data):
    if name == "cuts":
        return data.decode("utf-8", "replace")
    if name == "surrogate":
        return data, reader.found[0][1]
    return data


def main():
    """Give the valid inputs as the corpus, and every input to the reader."""
    name = sys.argv.pop(1)
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        reader = readers.READERS[name](folder)
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for i, content in enumerate(reader.valid):
            part = content[0] if isinstance(content, tuple) else content
            raw = part.encode() if isinstance(part, str) else part
            (corpus / str(i)).write_bytes(raw)

        def try_one(data):
            verdict = readers.verdict(reader, _input(name, reader, data), random.Random(len(data)))
            if verdict not in ("read", "refused"):
                raise Offender(verdict)

        atheris.Setup([*sys.argv, str(corpus)], try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
