"""Signing in on the page: the token moves into a cookie that scripts cannot read.

Event sources and sockets cannot send headers, but browsers send them cookies.
"""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from api.context import Context, principal
from api.security import COOKIE, bearer_token

router = APIRouter(prefix="/api/v1", tags=["session"])

_MAX_AGE_S = 30 * 24 * 3600


@router.post("/session", status_code=204, summary="Sign in", dependencies=[Depends(principal)])
async def sign_in(request: Request, response: Response, context: Context) -> None:
    """Keep the token of the `Authorization` header in a cookie for this browser."""
    token = bearer_token(request.headers)
    if context.authenticator.required and token is not None:
        response.set_cookie(
            COOKIE,
            token,
            max_age=_MAX_AGE_S,
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )


@router.delete("/session", status_code=204, summary="Sign out")
async def sign_out(response: Response) -> None:
    """Forget the cookie."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
