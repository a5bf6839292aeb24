"""The live page: its own files from ``web/``, and the chart library out of Plotly's wheel."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Header, Response
from fastapi.responses import PlainTextResponse
from starlette.datastructures import Headers
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

from api.problems import ABOUT, UnknownResourceError

WEB = Path(__file__).parents[2] / "web"
CHARTS_PATH = "/vendor/plotly.min.js"
_REVALIDATE = "no-cache"
_IMMUTABLE = "public, max-age=31536000, immutable"

router = APIRouter(include_in_schema=False)


class PageFiles(StaticFiles):
    """The page's files. A browser asks each time whether its copy is still good: they are small."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = _REVALIDATE
        return response


@cache
def page_html() -> bytes:
    """The page, with the address of the chart library that is installed."""
    html = (WEB / "index.html").read_text(encoding="utf-8")
    return html.replace("{{charts}}", f"{CHARTS_PATH}?v={version('plotly')}").encode()


@cache
def chart_library() -> tuple[bytes, bytes, str]:
    """The library, the same in gzip, and its entity tag. Plotly itself is not imported."""
    spec = find_spec("plotly")
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        msg = "the chart library is not installed: pip install plotly"
        raise UnknownResourceError(msg)
    raw = (Path(folders[0]) / "package_data" / "plotly.min.js").read_bytes()
    tag = hashlib.sha256(raw).hexdigest()[:20]
    return raw, gzip.compress(raw, 6, mtime=0), tag


@router.get("/")
async def get_page(if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """The page."""
    body = page_html()
    headers = {"Cache-Control": _REVALIDATE, "ETag": f'"{hashlib.sha256(body).hexdigest()[:20]}"'}
    if if_none_match == headers["ETag"]:
        return NotModifiedResponse(Headers(headers))
    return Response(body, headers=headers, media_type="text/html; charset=utf-8")


@router.get(CHARTS_PATH)
async def get_charts(
    v: str = "",
    accept_encoding: Annotated[str, Header()] = "",
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The chart library, for ever where the address names its version."""
    raw, packed, tag = await anyio.to_thread.run_sync(chart_library)
    headers = {
        "Cache-Control": _IMMUTABLE if v == version("plotly") else _REVALIDATE,
        "ETag": f'W/"{tag}"',
        "Vary": "Accept-Encoding",
    }
    if if_none_match == headers["ETag"]:
        return NotModifiedResponse(Headers(headers))
    if "gzip" in accept_encoding.lower():
        headers["Content-Encoding"] = "gzip"
        return Response(packed, headers=headers, media_type="text/javascript")
    return Response(raw, headers=headers, media_type="text/javascript")


@router.get("/problems/{kind}")
async def get_problem(kind: str) -> PlainTextResponse:
    """What a kind of problem means: problem documents point here."""
    if kind not in ABOUT:
        msg = f"there is no problem {kind!r}; there are {', '.join(sorted(ABOUT))}"
        raise UnknownResourceError(msg)
    return PlainTextResponse(f"{kind}: {ABOUT[kind]}\n")
