"""Every error leaves as a problem document (RFC 9457); this module holds all of their kinds.

* ProblemError
  x InvalidRequestError      422  a parameter or a whole body of items that does not validate
  x UnreadableBodyError      400  a body that is not JSON
  x UnauthorizedError        401  no token, or one we do not know
  x ForbiddenError           403  a web page of another origin asks
  x UnknownResourceError     404  not there, or another tenant's: the two look the same
  x ConflictError            409  what is asked for contradicts the present state
  x TooLargeError            413  a body of too many bytes or items
  x UnsupportedBodyError     415  a body of another media type
  x MisdirectedError         421  a host name that this open API does not answer to
  x BusyError                429  as many jobs or predictions as are taken at once; Retry-After
  x UnavailableError         503  a store or the broker does not answer; Retry-After says when
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from models.errors import BackbeatError, StorageUnavailableError
from storage.cursors import InvalidCursorError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
"""How long a client is asked to wait for a store or a broker; they come back within seconds."""


class FieldError(BaseModel):
    """One thing that is wrong with a request."""

    where: str = Field(description="The place, such as `query.limit`.")
    detail: str


class Problem(BaseModel):
    """A problem document (RFC 9457). `type` can be fetched, and tells more about the kind."""

    type: str = Field(examples=["/problems/not-found"])
    title: str
    status: int
    detail: str
    instance: str = Field(description="The path of the request.")
    errors: list[FieldError] | None = Field(None, description="What is wrong, item by item.")


class ProblemError(BackbeatError):
    """An error with its HTTP face. ``extra`` adds members to the document."""

    status: ClassVar[int]
    kind: ClassVar[str]
    about: ClassVar[str]

    def __init__(
        self,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})


class InvalidRequestError(ProblemError):
    """A parameter, or every item of a body, does not validate."""

    status = 422
    kind = "invalid-request"
    about = "The request was understood, but a value in it cannot be used; `errors` says which."


class UnreadableBodyError(ProblemError):
    """The body is not JSON."""

    status = 400
    kind = "unreadable-body"
    about = "The body is not the JSON, or JSON lines, that its Content-Type promises."


class UnauthorizedError(ProblemError):
    """No token, or an unknown one."""

    status = 401
    kind = "unauthorized"
    about = "Send `Authorization: Bearer TOKEN`, or sign in on the page."

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="backbeat"'})


class ForbiddenError(ProblemError):
    """A page of another origin asks in the name of whoever looks at it."""

    status = 403
    kind = "forbidden"
    about = "Browsers may use this API from its own page only."


class UnknownResourceError(ProblemError):
    """It does not exist for this tenant."""

    status = 404
    kind = "not-found"
    about = "There is nothing here, or nothing that your token may see."


class ConflictError(ProblemError):
    """What is asked for cannot follow the present state."""

    status = 409
    kind = "conflict"
    about = "The request contradicts the present state; `detail` says what is possible now."


class TooLargeError(ProblemError):
    """The body holds too much."""

    status = 413
    kind = "too-large"
    about = "The body has more bytes or items than are taken at once; send it in parts."


class UnsupportedBodyError(ProblemError):
    """The body has a media type that is not taken here."""

    status = 415
    kind = "unsupported-media-type"
    about = "Send `application/json` (an object or an array) or `application/x-ndjson`."


class MisdirectedError(ProblemError):
    """The Host header is not one of ours."""

    status = 421
    kind = "misdirected"
    about = (
        "Without tokens the API answers on loopback names alone, so that no web page can reach it "
        "under a name of its own (DNS rebinding)."
    )


class BusyError(ProblemError):
    """More is running or waiting already than is taken at once."""

    status = 429
    kind = "busy"
    about = "As many jobs or predictions wait as are taken at once; repeat the request later."

    def __init__(self, detail: str, retry_after: int = 10) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class UnavailableError(ProblemError):
    """Something behind the API does not answer; it may soon."""

    status = 503
    kind = "unavailable"
    about = "A store or the broker does not answer. Nothing is wrong with the request: repeat it."

    def __init__(self, detail: str, *, extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": str(RETRY_AFTER_S)}, extra=extra)


_HTTP_KINDS = {
    400: (UnreadableBodyError.kind, UnreadableBodyError.about),
    404: (UnknownResourceError.kind, "There is nothing under this address."),
    405: ("method-not-allowed", "The address takes other methods; `Allow` names them."),
    413: (TooLargeError.kind, TooLargeError.about),
    500: ("internal", "The fault is ours, and it has been logged."),
}

ABOUT: dict[str, str] = dict(_HTTP_KINDS.values()) | {
    c.kind: c.about for c in ProblemError.__subclasses__()
}
"""Every kind of problem there is, with what can be said about it beforehand."""


def problem_response(
    request: Request,
    status: int,
    kind: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Response:
    """The response for one problem."""
    document = {
        "type": f"/problems/{kind}",
        "title": kind.replace("-", " ").capitalize(),
        "status": status,
        "detail": detail,
        "instance": request.url.path,
        **(extra or {}),
    }
    base = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    # What was sent is told again, half characters among it, which are no UTF-8.
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return Response(
        content.encode("utf-8", "replace"), status, base | dict(headers or {}), MEDIA_TYPE
    )


def install(app: FastAPI) -> None:
    """Make every error of the application a problem document."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(InvalidCursorError, _on_cursor)
    app.add_exception_handler(StorageUnavailableError, _on_unavailable)
    app.add_exception_handler(Exception, _on_bug)


async def _on_problem(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, ProblemError)  # noqa: S101 - registered for this type alone
    return problem_response(request, exc.status, exc.kind, str(exc), exc.headers, exc.extra)


async def _on_http(request: Request, exc: Exception) -> Response:
    """What the framework raises: routing, methods, sizes."""
    assert isinstance(exc, HTTPException)  # noqa: S101
    kind, detail = _HTTP_KINDS.get(exc.status_code, ("http", str(exc.detail)))
    if exc.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not taken here"
    return problem_response(request, exc.status_code, kind, detail, exc.headers)


async def _on_validation(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)  # noqa: S101
    errors = field_errors(exc.errors())
    detail = "; ".join(f"{e['where']}: {e['detail']}" for e in errors)
    kind = InvalidRequestError.kind
    return problem_response(request, 422, kind, detail, extra={"errors": errors})


async def _on_cursor(request: Request, exc: Exception) -> Response:
    return await _on_problem(request, InvalidRequestError(str(exc)))


async def _on_unavailable(request: Request, exc: Exception) -> Response:
    log.warning("store did not answer", extra={"path": request.url.path, "error": str(exc)})
    known = UnavailableError("the store does not answer")
    return await _on_problem(request, known)


async def _on_bug(request: Request, _exc: Exception) -> Response:
    """Anything else: the server logs the traceback, the client learns nothing of it."""
    return problem_response(request, 500, *_HTTP_KINDS[500])


def field_errors(errors: Sequence[Any]) -> list[dict[str, str]]:
    """Pydantic's errors as (place, message), without the input they complain about."""
    return [
        {
            "where": ".".join(str(part) for part in error["loc"]),
            "detail": str(error["msg"]).removeprefix("Value error, "),
        }
        for error in errors
    ]
