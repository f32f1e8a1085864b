"""Monte Carlo event generation with learned surrogates."""

from physgen.events import Events, concatenate
from physgen.schema import Field, Schema, SchemaError

__all__ = ["Events", "Field", "Schema", "SchemaError", "concatenate"]
__version__ = "0.1.0"
