"""Which windows are kept how long."""

import pytest

from models.records import LIVE
from storage.retention import Policy, history_retention, policy_for, stream_clock
from tests.storage.rows import CONFIG, DAY, HOUR, MINUTE, SECOND


@pytest.mark.parametrize(
    ("size", "slide", "expected"),
    [
        (10 * SECOND, 10 * SECOND, Policy(2 * DAY, None)),
        (MINUTE, 10 * SECOND, Policy(2 * DAY, None)),
        (HOUR, MINUTE, Policy(400 * DAY, HOUR)),
        # A metric's pane is configured nowhere: it is kept like the next shorter window.
        (SECOND, SECOND, Policy(2 * DAY, None)),
        (5 * MINUTE, 5 * MINUTE, Policy(2 * DAY, None)),
        (HOUR, HOUR, Policy(400 * DAY, HOUR)),
        (DAY, DAY, Policy(400 * DAY, HOUR)),
    ],
)
def test_a_window_is_kept_as_its_size_is_configured(size: int, slide: int, expected: Policy):
    assert policy_for(size, slide, CONFIG.windows) == expected


def test_a_policy_keeps_all_then_some_then_none():
    policy = Policy(retention=10 * DAY, keep_every=HOUR)
    assert policy.keeps(MINUTE, MINUTE + 2 * DAY)
    assert not policy.keeps(MINUTE, MINUTE + 2 * DAY + 1)
    assert policy.keeps(HOUR, HOUR + 10 * DAY)
    assert not policy.keeps(HOUR, HOUR + 10 * DAY + 1)
    assert Policy(10 * DAY, None).keeps(1, 10 * DAY)


def test_only_the_live_stream_goes_by_the_wall_clock():
    assert stream_clock(LIVE, 1000, 5) == 1000
    assert stream_clock("import", 1000, 5) == 5
    assert stream_clock("import", 1000, 5000) == 1000
    assert history_retention(CONFIG.windows) == 400 * DAY
