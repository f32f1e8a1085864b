"""What `physgen train` finds of an earlier call: its checkpoints, or its result."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from physgen import fitting, storage
from physgen.events import Events
from physgen.files import EventStream
from physgen.models.base import ModelSettings
from physgen.random import as_seed
from physgen.training import TrainingConfig

__all__ = ["checkpoint_folder", "is_trained"]


def checkpoint_folder(output: Path) -> Path:
    """Where a training is kept: beside its output, so that an older surrogate there stays."""
    target = Path(os.path.realpath(output))
    return target.with_name(f"{target.name}.training")


def is_trained(
    output: Path,
    events: Events | EventStream,
    settings: ModelSettings,
    conditions: Iterable[str] | None,
    training: TrainingConfig,
    seed: int,
) -> bool:
    """Whether the output is the result of this very training; of a stream nobody knows."""
    if not output.exists() or isinstance(events, EventStream):
        return False
    try:
        stored, _ = storage.read_folder(output)
    except (OSError, storage.SurrogateFileError):
        return False  # it is replaced as a whole
    config = fitting.with_budget(training, None, None, None)
    wanted = {
        "model": storage.model_to_dict(settings, None),
        "info": fitting.origin(
            fitting.training_events(events, None, conditions), config, as_seed(seed)
        ),
    }
    found = {"model": stored["model"], "info": {**stored["info"]}}
    for name in ("file", "files"):
        found["info"].pop(name, None)
    return bool(found == json.loads(json.dumps(wanted)))
