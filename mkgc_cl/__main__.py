"""``python -m mkgc_cl``: the same as ``mkgc``."""

import sys

from mkgc_cl.cli import main

if __name__ == "__main__":
    sys.exit(main())
