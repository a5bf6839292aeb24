"""A track's first week judged by a real worker: what the folds alone make of it, and what is served."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.support.judged import judged
from tests.support.plays import HOUR
from tests.support.released import NEW, RULES_TOML, SERIES_TOML, end_markers, records

pytestmark = [pytest.mark.integration, pytest.mark.server, pytest.mark.timeout(300)]


def test_a_worker_judges_first_weeks_as_the_folds_do_and_stores_them(
    any_broker, unique_name, tmp_path
):
    config = tmp_path / "series.toml", tmp_path / "rules.toml"
    one_alert = RULES_TOML.replace('"release(listeners) >= 3 down"', '"release(listeners) >= 90"')
    for path, text in zip(config, (SERIES_TOML, one_alert), strict=True):
        path.write_text(text, "utf-8")
    sent = [s for s in records("replay") if s.at < NEW + 24 * HOUR] + end_markers()
    with judged(any_broker, unique_name, tmp_path, config, "plays", sent, "release") as (
        alert,
        api,
    ):
        series = quote(alert["series"], safe="")
        span = "from=2026-01-08T00:00:00Z&to=2026-01-10T00:00:00Z"
        found = api.get(f"/api/v1/series/{series}/windows?stream=replay&{span}")
    assert alert["series"] == "demo|release:plays{release=new-0@2026-01-08T08:30Z}"
    assert alert["reason"].startswith("plays of new-0 in its ")
    assert (alert["kind"], alert["state"], alert["shape"]) == ("release", "resolved", "dip")
    points = found["points"]
    assert points[0]["start"] == "2026-01-08T08:00:00.000Z"
    outside = [n for n, p in enumerate(points) if not p["low"] <= p["value"] <= p["high"]]
    assert outside[:4] == [12, 13, 14, 15]
