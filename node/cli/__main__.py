"""`python -m node.cli`, where the script `vcoin` is not on the path."""

import sys

from node.cli import main

sys.exit(main())
