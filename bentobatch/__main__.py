"""This module makes ``python -m bentobatch`` the same as ``bentobatch``."""

from __future__ import annotations

import sys

from bentobatch.cli.start import main

sys.exit(main())
