"""``python -m physgen`` is the command ``physgen``."""

import sys

from physgen.cli import main

sys.exit(main())
