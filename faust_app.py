"""The worker's entry: ``faust -A faust_app worker -l info``. Imported by nothing."""

from agents.topology import create_app
from models.settings import Settings

app = create_app(Settings())
