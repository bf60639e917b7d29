"""`python -m firehot`: the same as the command `firehot`."""

import sys

from firehot._command import main

if __name__ == "__main__":
    sys.exit(main())
