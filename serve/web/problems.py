"""Problems: every refusal over HTTP is a problem document, with the same reasons as on the command line.

References
----------
RFC 9457, Problem Details for HTTP APIs.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from xraytransfer.errors import OVERRULED_BY, REASONS, RadiographError
from xraytransfer.film_privacy import place_of
from xraytransfer.serve.engine import DeadlineError, DrainingError, QueueFullError
from xraytransfer.serve.log import log

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["PROBLEMS", "Problem", "ProblemError", "as_problem", "handle", "problem_response"]

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Problem:
    """One kind of refusal: its HTTP status and its short title."""

    status: int
    title: str


_FILM_STATUS = {"unsupported-format": 415, "too-large": 413}

PROBLEMS: dict[str, Problem] = {
    **{reason: Problem(_FILM_STATUS.get(reason, 422), title) for reason, title in REASONS.items()},
    "bad-request": Problem(400, "the request cannot be understood"),
    "bad-multipart": Problem(400, "the multipart body is malformed or cut short"),
    "empty-body": Problem(400, "the request carries no film"),
    "client-left": Problem(400, "the client left before its answer"),
    "unauthorized": Problem(401, "the token is missing or wrong"),
    "cross-origin": Problem(403, "a web page of another origin may not call this server"),
    "unknown-path": Problem(404, "nothing is served at this path"),
    "method-not-allowed": Problem(405, "this path does not answer this method"),
    "not-acceptable": Problem(406, "the answer cannot be given in the form that was asked for"),
    "slow-upload": Problem(408, "the body came too slowly"),
    "body-too-large": Problem(413, "the body is larger than the limit"),
    "too-many-files": Problem(413, "more films in one request than the limit"),
    "unsupported-media-type": Problem(415, "the Content-Type is none that is read here, or not the film's"),
    "unsupported-encoding": Problem(415, "compressed bodies are not read"),
    "wrong-host": Problem(421, "the Host header names another server"),
    "no-report": Problem(422, "a report on this film cannot be made"),
    "wrong-tokens": Problem(429, "too many wrong tokens came from this address"),
    "internal": Problem(500, "the server failed; the film may be fine"),
    "busy": Problem(503, "every place is taken"),
    "stopping": Problem(503, "the server is being stopped"),
    "not-ready": Problem(503, "the server cannot score a film"),
    "deadline": Problem(504, "the film's time was up before it was scored"),
}
"""Every reason: a film's (`xraytransfer.errors.REASONS`) and the server's own."""

_PARAMETERS = {"any_modality": "any_modality=true", "any_film": "any_film=true"}
_SETTINGS = {"unintended-film": "; this server is set to refuse such films"}


class ProblemError(Exception):
    """A request, or one film of it, is refused.

    Parameters
    ----------
    reason : str
        A key of `PROBLEMS`.
    detail : str
        What is wrong, what was expected, what to do. Holds no patient data.
    headers : dict, optional
        Headers that go with the answer, such as ``Retry-After``.
    members : dict, optional
        Further members of the document: what is known of a refused film.
    """

    def __init__(
        self,
        reason: str,
        detail: str,
        headers: dict[str, str] | None = None,
        members: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.headers = headers or {}
        self.members = members or {}
        self.status = PROBLEMS[reason].status

    def to_dict(self) -> dict[str, Any]:
        """Return the problem document's members."""
        return {
            "type": f"/reference#{self.reason}",
            "title": PROBLEMS[self.reason].title,
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
            **self.members,
        }


def as_problem(error: BaseException) -> ProblemError:
    """Return the problem that the client is told for an error; an unexpected error is logged without its message."""
    match error:
        case ProblemError():
            problem = error
        case RadiographError():
            # the source is the request's own body
            record = error.radiograph and {name: value for name, value in error.radiograph.items() if name != "source"}
            overruled_by = _PARAMETERS.get(OVERRULED_BY.get(error.reason, ""))
            members = {"overruled_by": overruled_by, "radiograph": record, "acceptance": error.acceptance}
            detail = error.message.removeprefix("<bytes>: ") + _SETTINGS.get(error.reason, "")
            problem = ProblemError(error.reason, detail, members=members)
        case QueueFullError():
            problem = ProblemError("busy", str(error), {"Retry-After": str(error.retry_after)})
        case DrainingError():
            problem = ProblemError("stopping", str(error), {"Retry-After": "10"})
        case DeadlineError() | asyncio.TimeoutError():
            problem = ProblemError("deadline", str(DeadlineError()))
        case ClientDisconnect():
            problem = ProblemError("client-left", PROBLEMS["client-left"].title)
        case HTTPException():
            reason = {404: "unknown-path", 405: "method-not-allowed"}.get(error.status_code, "bad-request")
            problem = ProblemError(reason, PROBLEMS[reason].title, dict(error.headers or {}))
        case _:
            # type and place only: messages of other libraries may quote a film's header
            log.error("unexpected %s", place_of(error))
            problem = ProblemError("internal", "an unexpected error; the server's log names its place")
    return problem


def problem_response(problem: ProblemError) -> Response:
    """Return the problem document as a response."""
    return JSONResponse(problem.to_dict(), problem.status, problem.headers, MEDIA_TYPE)


async def handle(request: Request, error: Exception) -> Response:
    """Answer a request that raised an error; Starlette's exception handler."""
    problem = as_problem(error)
    metrics = request.app.state.server.metrics
    metrics.refusals.labels(problem.reason).inc()
    return problem_response(problem)
