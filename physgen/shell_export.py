"""The command that writes a surrogate as one file for C++."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from physgen.exporting import export as write
from physgen.shell_options import Output, Seed, Whole
from physgen.surrogate import Surrogate

__all__ = ["export"]


def export(
    surrogate: Path,
    *,
    output: Output,
    n_steps: Annotated[int | None, Whole] = None,
    sampler: Literal["heun", "dpm", "euler", "ancestral"] | None = None,
    report: Path | None = None,
    opset: Annotated[int, Whole, Parameter(group="ONNX")] = 20,
    seed: Seed = 0,
) -> None:
    """Write a surrogate as one file that runs without Python, and a model card beside it.

    Example: `physgen export run -o shower.onnx`

    The file takes conditions in the units of the truth and random numbers, and gives columns in
    their units; docs/export.md shows how to call it from C++ and Geant4.

    Parameters
    ----------
    surrogate
        Folder written by `physgen train`.
    output
        File to write: .onnx for onnxruntime, .pt2 for torch. The card of shower.onnx is
        shower.json.
    n_steps
        Steps of a Diffusion, which are unrolled; by default those of its settings.
    sampler
        Of a Diffusion; by default that of its settings.
    report
        JSON report of `physgen compare`, for the card.
    opset
        Version of the ONNX operations: 18, 19 or 20.
    seed
        Seed of the example in the card.
    """
    chosen: dict[str, Any] = {"n_steps": n_steps, "sampler": sampler}
    effort = {name: value for name, value in chosen.items() if value is not None}
    validation = None if report is None else json.loads(report.read_text())
    card = write(
        Surrogate.load(surrogate), output, opset=opset, seed=seed, validation=validation, **effort
    )
    lines = [f"{output}: {output.stat().st_size / 1e6:.1f} MB"]
    for side, word in (("inputs", "in "), ("outputs", "out")):
        for entry in card[side]:
            unit = f" [{entry['unit']}]" if entry.get("unit") else ""
            shape = ", ".join(map(str, entry["shape"]))
            lines.append(f"  {word} {entry['name']}{unit}: {entry['dtype']} ({shape})")
    lines.append(f"card: {card['file']['card']}")
    Console().print("\n".join(lines), highlight=False, soft_wrap=True, markup=False, emoji=False)
