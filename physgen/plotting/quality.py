"""Quality against time: what a training, and an event, of each family costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from physgen.benchmarking import Benchmark, Trial

__all__ = ["plot_quality", "quality_figure"]

_MARKERS = "os^Dv<>P*X"


def plot_quality(
    axes: Axes, trials: Sequence[Trial], *, against: str = "training", batch: int = 100
) -> Axes:
    """Classifier AUC against the CPU time of the training, or of an event.

    Parameters
    ----------
    axes : Axes
    trials : sequence of Trial
    against : {"training", "event"}, default "training"
    batch : int, default 100
        Batch of an event's time.
    """
    from matplotlib.ticker import FuncFormatter, NullFormatter

    names = list(dict.fromkeys(t.family for t in trials))
    floors = [t.auc.floor for t in trials if t.auc is not None]
    for k, name in enumerate(names):
        points = [
            (t.training if against == "training" else t.milliseconds[batch], t.auc)
            for t in trials
            if t.family == name
            and t.auc is not None
            and (against == "training" or batch in t.milliseconds)
        ]
        if points:
            x, auc = zip(*sorted(points, key=lambda p: p[0]), strict=True)
            axes.errorbar(
                x, [a.value for a in auc], yerr=[2 * (a.std_error or 0.0) for a in auc],
                marker=_MARKERS[k % len(_MARKERS)], color=f"C{k}", label=name, capsize=2,
                linestyle="-" if against == "training" else "none",
            )  # fmt: skip
    if floors:
        axes.axhline(max(floors), color="0.4", linestyle="--", label="truth against truth")
    axes.set_xscale("log")
    highest = max((t.auc.value for t in trials if t.auc is not None), default=1.0)
    axes.set_ylim(0.48, min(1.02, highest + 0.08))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("classifier AUC (0.5: not told apart)")
    axes.set_xlabel(
        "training [CPU s]" if against == "training" else f"event in a batch of {batch} [CPU ms]"
    )
    axes.grid(visible=True, alpha=0.3)
    return axes


def quality_figure(found: Benchmark) -> Figure:
    """Both plots of a benchmark side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    plot_quality(left, found.trials)
    plot_quality(right, found.trials, against="event")
    right.set_ylabel("")
    left.legend(frameon=False)
    return figure
