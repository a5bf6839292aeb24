"""Panes: what a partial must be, how panes pack, and how shelves keep and let go of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import StateError
from models.records import Partial, Watermark, to_msgpack
from tables.panes import PANES, Archive, Pane, together
from tables.partials import BadPartialError, TypedPartial, decode_partial
from tables.parts import merge_parts
from tables.rolling import Roll
from tables.shelves import ARCHIVE_BLOCKS, INFINITY, BlockShelf, Shelf
from tables.sketches import distinct
from tests.support.window_timeline import ALL, metric_parts, play_parts

