"""Export: a surrogate as one file for onnxruntime or torch, with a card that explains it."""

from physgen.exporting.card import load_card
from physgen.exporting.errors import ExportError
from physgen.exporting.exporter import export
from physgen.exporting.reader import OnnxGenerator

__all__ = ["ExportError", "OnnxGenerator", "export", "load_card"]
