"""Events to tensors and back.

A :class:`Preprocessor` holds one transform per column, in an order in which every column is
decoded after those it needs. Jagged columns of one collection become a multiplicity and a padded
block, a :class:`Cloud`. Which transform a column gets is decided from the data by
:func:`choose_transform` and can be overridden for any column.
"""

from physgen.preprocessing.choice import choose_transform
from physgen.preprocessing.cloud import Cloud
from physgen.preprocessing.preprocessor import Preprocessor

__all__ = ["Cloud", "Preprocessor", "choose_transform"]
