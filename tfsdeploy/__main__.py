"""`python -m tfsdeploy`: the same as the console script; agents and servers are started this way."""

import sys

from tfsdeploy.cli.main import main

sys.exit(main())
