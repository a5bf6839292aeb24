"""The pictures of the docs: what is drawn of a small ground, and that the committed ones are linked."""

import time
from xml.etree import ElementTree as ET

import httpx
import numpy as np
import pytest

from bench import page as live_page
from bench import pictures
from bench.incidents.ground import PANE, Ground, Track
from ml.novelty import CONTEXTS
from simulate.incidents import HOUR, MINUTE, release

AT = 8 * HOUR


@pytest.fixture(scope="module")
def ground():
    """Ten hours of a calm series that is three times as high while its slice is broken."""
    values = 800 + 40 * np.random.default_rng(2).standard_normal(10 * HOUR // PANE)
    values[AT // PANE : (AT + 4 * MINUTE) // PANE] *= 3
    track = Track("startup_p95", {"platform": "ios", "country": "FR"}, values, values > 0)
    broken = release("release/1", AT, 4 * MINUTE, "ios", "FR")
    return Ground(1, 0, HOUR // PANE, (broken,), [track])


def test_a_finding_is_drawn_with_its_band_threshold_and_contexts(ground):
    root = ET.fromstring(pictures.around(ground, "release", is_found=True))
    found = [element.tag.rpartition("}")[2] for element in root.iter()]

    assert found.count("circle") == 2
    assert found.count("polygon") == 1
    assert found.count("polyline") == 1 + 1 + len(CONTEXTS)
    assert "value at this time of day" in "".join(root.itertext())


def test_a_picture_of_what_is_not_there_is_refused(ground):
    with pytest.raises(ValueError, match="'release' is missed"):
        pictures.around(ground, "release", is_found=False)
    with pytest.raises(ValueError, match="'silence' is found"):
        pictures.around(ground, "silence", is_found=True)


def test_a_value_that_is_not_there_leaves_no_point():
    panel = pictures.Panel("a < b", {"v": [1.0, None, 3.0]}, level=2.0)
    text = pictures.svg([0, 60_000, 120_000], [panel], [(0, 60_000)])
    root = ET.fromstring(text)
    (line,) = (e for e in root.iter() if e.tag.endswith("polyline"))

    assert len(line.get("points").split()) == 2
    assert "a < b" in "".join(root.itertext())


def test_the_page_shows_every_picture_the_command_makes():
    page = (pictures.ROOT / "docs" / "detection.md").read_text()
    for path in sorted((pictures.ROOT / "docs" / "images").glob("detection-*.svg")):
        ET.parse(path)
        assert f"(images/{path.name})" in page


@pytest.mark.parametrize("shot", [live_page.LAPTOP, live_page.PHONE])
def test_the_pictures_of_the_page_are_shown_and_as_large_as_the_command_makes_them(shot):
    name, width, height, _ = shot
    docs = pictures.ROOT / "docs"
    content = (docs / "images" / f"{name}.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(content[16:20]), int.from_bytes(content[20:24])) == (width, height)
    texts = [pictures.ROOT / "README.md", *docs.glob("*.md")]
    assert any(f"images/{name}.png)" in text.read_text() for text in texts)


def test_an_alert_of_the_past_is_not_waited_for(monkeypatch):
    asked = []

    def get(address, params):
        asked.append(int(params["since"]))
        return httpx.Response(200, json={"items": ["fresh"] if len(asked) > 1 else []})

    monkeypatch.setattr(live_page.httpx, "get", get)
    monkeypatch.setattr(live_page.time, "sleep", lambda _: None)
    before = time.time() * 1000 - live_page.FRESH_MS
    live_page.wait_for_alert("http://127.0.0.1:1", live_page.RULE)
    assert len(asked) == 2
    assert before - 1 <= asked[0] <= asked[1]
    with pytest.raises(TimeoutError, match="no alert of playback-errors"):
        live_page.wait_for_alert("http://127.0.0.1:1", live_page.RULE, patience=-1)
