# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error leaves as application/problem+json, with a sentence for people."""

from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from farm_protocol.errors import FarmError
from farm_protocol.fields import encode
from farm_protocol.problems import Problem

log = structlog.get_logger()

_SENTENCES = {
    404: "There is nothing at this address: docs/http.md lists all calls.",
    405: "This address does not take this method.",
}

AGAIN = {"Retry-After": "1"}
_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 429: AGAIN, 503: AGAIN}


def problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Error as the API answers it: HTTP `status`, `code` for programs, `detail` for people, and more
    `headers`.
    """
    record = Problem("about:blank", HTTPStatus(status).phrase, status, code, detail)
    return Response(encode(record), status, headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Answer all errors of an app so."""
    app.add_exception_handler(FarmError, _farm_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(ClientDisconnect, _hung_up)
    app.add_exception_handler(Exception, _unforeseen)


async def _farm_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FarmError)
    if error.status >= 500:
        log.warning("request_failed", path=request.url.path, code=error.code, reason=error.sentence)
    headers = _HEADERS.get(error.status)
    return problem(error.status, error.code, error.sentence, headers)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = _SENTENCES.get(error.status_code, str(error.detail))
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return problem(error.status_code, code, sentence, dict(error.headers or {}))


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    named = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())
    return problem(422, "invalid_input", f"The request cannot be used as it is: {named}.")


async def _hung_up(_: Request, __: Exception) -> Response:
    return problem(400, "incomplete", "The request ended before its body did.")


async def _unforeseen(request: Request, error: Exception) -> Response:
    log.error("request_crashed", path=request.url.path, exc_info=error)
    return problem(500, "internal", "The coordinator stumbled over this request; its log says where.")
