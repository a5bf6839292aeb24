"""The worker's entry: ``faust -A faust_app worker -l info``. Imported by nothing."""

import sys

from agents.topology import create_app
from models.errors import ConfigurationError
from models.settings import read_settings

try:
    app = create_app(read_settings())
except ConfigurationError as exc:
    sys.exit(f"backbeat: {exc}")
