"""The directive ``names``: documents names of a module, each in one place only.

    ```{names} physgen.metrics
    mmd
    wasserstein
    ```

gives a table of the names, and below it their documentation; names that are at home elsewhere
stand in the table and link there. Without names, all of ``__all__``.
"""

import importlib
import re

import public_names
from sphinx.util.docutils import SphinxDirective


class Names(SphinxDirective):
    required_arguments = 1
    has_content = True

    def run(self):
        module = self.arguments[0]
        for source in (importlib.import_module(module).__file__, public_names.__file__):
            self.env.note_dependency(source)
        names = [line.strip() for line in self.content if line.strip()] or public_names.all_of(
            module
        )
        return self.parse_text_to_nodes("\n".join(public_names.page(module, names)))


def escape_stars(app, what, name, obj, options, lines):
    """A shape such as (n_events, *shape) is no emphasis; between `` it has no need of it."""
    for i, line in enumerate(lines):
        parts = line.split("``")
        parts[::2] = [re.sub(r"([(,] ?)\*(\w)", r"\1\\*\2", part) for part in parts[::2]]
        lines[i] = "``".join(parts)


def setup(app):
    app.connect("autodoc-process-docstring", escape_stars, priority=400)  # before numpydoc
    app.add_directive("names", Names)
    return {"parallel_read_safe": True}
