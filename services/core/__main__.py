"""`python -m services.core MODEL`: a server with its settings from the environment, as workers and images start it."""

from __future__ import annotations

import sys

from services.core.server import serve
from services.core.settings import Settings

if __name__ == "__main__":
    serve(sys.argv[1], Settings.from_environment())
