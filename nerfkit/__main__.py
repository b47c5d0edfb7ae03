"""``python -m nerfkit`` is the command ``nerfkit``."""

import sys

from nerfkit.cli import main

sys.exit(main())
