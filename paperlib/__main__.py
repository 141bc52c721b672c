"""``python -m paperlib`` does what the command ``paperlib`` does."""

import sys

from paperlib.cli import main

if __name__ == "__main__":
    sys.exit(main())
