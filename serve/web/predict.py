"""Predict: the endpoints that score films."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from xraytransfer.constants import DECODING
from xraytransfer.errors import RadiographError, ServeError
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.serve.engine import DeadlineError, QueueFullError
from xraytransfer.serve.web.multipart import Part, read_parts
from xraytransfer.serve.web.pictures import film_picture, map_pictures, map_values
from xraytransfer.serve.web.problems import ProblemError, as_problem
from xraytransfer.serve.web.uploads import MEDIA_TYPES, check_signature, media_type, read_body

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams
    from starlette.requests import Request

    from xraytransfer.prediction import Prediction
    from xraytransfer.radiograph import Radiograph
    from xraytransfer.serve.web.body_memory import Share
    from xraytransfer.serve.web.state import Server

__all__ = ["Options", "predict", "structured_report"]

T = TypeVar("T")
Finish: TypeAlias = "Callable[[Radiograph, Prediction], bytes]"
"""What a worker thread makes of a film and its prediction: the answer's bytes."""

_RETRY_S = 0.02
_UNSTATED = ("application/octet-stream", "")  # what browsers and libraries call a file they do not know


@dataclass(frozen=True)
class Options:
    """The query of a request that scores films.

    Attributes
    ----------
    maps : tuple of str
        Observations whose activation map to return as a picture over the film.
    map_values : bool
        Whether to return the activation maps as numbers.
    picture : int or None
        Longer side in pixels of the film to return as it was read; None returns no film.
    any_modality : bool
        Whether to score a film that its header does not describe as a chest radiograph.
    any_film : bool
        Whether to score a film that the model's quality gate refuses.
    decode : str or None
        ``full`` or ``reduced``; None takes the server's setting. With a map or a picture always ``full``.
    """

    maps: tuple[str, ...] = ()
    map_values: bool = False
    picture: int | None = None
    any_modality: bool = False
    any_film: bool = False
    decode: str | None = None

    @classmethod
    def read(cls, query: QueryParams) -> Options:
        """Read a query, or raise `ProblemError` (``bad-request``) naming what is wrong with it."""
        unknown = set(query) - {"map", "picture", "any_modality", "any_film", "decode"}
        if unknown:
            raise ProblemError(
                "bad-request", "unknown query parameter; known: map, picture, any_modality, any_film, decode"
            )
        identifiers = [observation.identifier for observation in OBSERVATIONS]
        words = [word for word in query.get("map", "").split(",") if word]
        maps = identifiers if "all" in words else [word for word in words if word != "values"]
        if not set(maps) <= set(identifiers):
            raise ProblemError("bad-request", f"map: expected all, values, or any of {', '.join(identifiers)}")
        side = query.get("picture")
        if side is not None and not (side.isdecimal() and len(side) < 6 and 64 <= int(side) <= 4096):
            raise ProblemError("bad-request", "picture: expected the longer side, 64 to 4096 pixels")
        for name in ("any_modality", "any_film"):
            if query.get(name, "false").lower() not in {"true", "false"}:
                raise ProblemError("bad-request", f"{name}: expected true or false")
        decode = query.get("decode")
        if decode not in (None, *DECODING):
            raise ProblemError("bad-request", f"decode: expected {' or '.join(DECODING)}")
        return cls(
            tuple(maps),
            "values" in words,
            int(side) if side else None,
            query.get("any_modality", "").lower() == "true",
            query.get("any_film", "").lower() == "true",
            "full" if maps or side else decode,
        )


async def predict(request: Request) -> Response:
    """Score one film (its bytes are the body) or many (multipart), in their order."""
    kind = media_type(request.headers.get("content-type"))
    if kind not in (*MEDIA_TYPES, "multipart/form-data"):
        raise ProblemError(
            "unsupported-media-type", f"send {', '.join(MEDIA_TYPES)}, or several as multipart/form-data"
        )
    options, server = Options.read(request.query_params), _free_server(request)
    with server.memory.share() as share:
        if kind == "multipart/form-data":
            return await _predict_many(request, options, share)
        document = await _score_body(request, kind, options, lambda _: partial(_render, options), share)
    return Response(document, media_type="application/json")


async def structured_report(request: Request) -> Response:
    """Score one DICOM film and answer with its DICOM SR."""
    kind = media_type(request.headers.get("content-type"))
    if kind != "application/dicom":
        raise ProblemError("unsupported-media-type", "a structured report needs the film as application/dicom")
    options, server = Options.read(request.query_params), _free_server(request)
    with server.memory.share() as share:
        report = await _score_body(request, kind, options, lambda data: partial(_report, data), share)
    return Response(report, media_type="application/dicom")


def _free_server(request: Request) -> Server:
    """Return the server, or refuse at once if its engine has no place."""
    server: Server = request.app.state.server
    if server.engine.full:
        raise QueueFullError(server.engine.retry_after)
    return server


async def _score_body(
    request: Request, kind: str, options: Options, make_finish: Callable[[bytes], Finish], share: Share
) -> bytes:
    """Score the film in the body; `make_finish` makes of its bytes what the engine is to do with the prediction."""
    server: Server = request.app.state.server
    data = await read_body(request, server.settings, share)
    if not data:
        raise ProblemError("empty-body", "the body is empty: send one film")
    check_signature(data, kind)
    deadline = time.monotonic() + server.settings.deadline_s
    future = _submit(server, data, make_finish(data), deadline, options)
    try:
        answer = await _unless_client_leaves(request, asyncio.wrap_future(future), deadline)
    except (RadiographError, ProblemError):
        server.metrics.films.labels("refused").inc()
        raise
    server.metrics.films.labels("scored").inc()
    return answer


def _submit(server: Server, data: bytes, finish: Finish, deadline: float, options: Options) -> Future[bytes]:
    return server.engine.submit(
        data, finish, deadline, any_modality=options.any_modality, any_film=options.any_film, decode=options.decode
    )


async def _unless_client_leaves(request: Request, answer: asyncio.Future[T], deadline: float = math.inf) -> T:
    """Wait for an answer to a request that was read to its end; cancel it if the client leaves or time is up."""
    leaving = asyncio.ensure_future(_client_leaves(request))
    timeout = None if math.isinf(deadline) else deadline - time.monotonic()
    try:
        await asyncio.wait((answer, leaving), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise ClientDisconnect if leaving.done() else DeadlineError
    finally:
        leaving.cancel()
        answer.cancel()


async def _client_leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _predict_many(request: Request, options: Options, share: Share) -> Response:
    """Score a multipart request's films while the rest arrives; a refused film does not stop the others."""
    server: Server = request.app.state.server
    window = asyncio.Semaphore(
        min(server.settings.queue_size, 2 * max(server.engine.workers, server.engine.batch_size))
    )
    films: list[asyncio.Task[bytes]] = []

    def make_room(size: int, _: asyncio.Task[bytes]) -> None:
        share.shrink(size)
        window.release()

    try:
        async for part in read_parts(request, server.settings, share):
            await window.acquire()
            film = asyncio.create_task(_score_part(server, options, len(films), part))
            film.add_done_callback(partial(make_room, len(part.data)))
            films.append(film)
        if not films:
            raise ProblemError("empty-body", "the multipart body holds no film")
        outcomes = await _unless_client_leaves(request, asyncio.gather(*films, return_exceptions=True))
    finally:
        for film in films:
            film.cancel()
    results = [_count_outcome(server, index, outcome) for index, outcome in enumerate(outcomes)]
    return Response(b'{"results": [' + b", ".join(results) + b"]}", media_type="application/json")


async def _score_part(server: Server, options: Options, index: int, part: Part) -> bytes:
    """Score one film of a multipart request; wait for a place, because the request was accepted."""
    deadline = time.monotonic() + server.settings.deadline_s
    if part.media_type not in (*MEDIA_TYPES, *_UNSTATED):
        raise ProblemError("unsupported-media-type", f"a part's Content-Type: expected {', '.join(MEDIA_TYPES)}")
    if part.media_type in MEDIA_TYPES:
        check_signature(part.data, part.media_type)
    while True:
        try:
            future = _submit(server, part.data, partial(_render, options, index=index), deadline, options)
            break
        except QueueFullError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_RETRY_S)
    return await asyncio.wait_for(asyncio.wrap_future(future), deadline - time.monotonic())


def _count_outcome(server: Server, index: int, outcome: bytes | BaseException) -> bytes:
    """Count a film of a multipart request, and return its part of the answer."""
    if isinstance(outcome, bytes):
        server.metrics.films.labels("scored").inc()
        return outcome
    problem = as_problem(outcome)
    server.metrics.films.labels("refused").inc()
    server.metrics.refusals.labels(problem.reason).inc()
    refusal = {
        "index": index,
        "status": problem.status,
        "ok": False,
        "reason": problem.reason,
        "message": problem.detail,
        **problem.members,
    }
    return json.dumps(refusal).encode()


def _render(options: Options, radiograph: Radiograph, prediction: Prediction, index: int | None = None) -> bytes:
    """Return a prediction as JSON. Runs in a worker thread, so that encoding pictures does not stop the event loop."""
    document: dict[str, Any] = {} if index is None else {"index": index, "status": 200}
    document |= prediction.to_dict()
    if options.picture is not None:
        document["picture"] = film_picture(radiograph.pixels, options.picture)
    if options.maps:
        document["maps"] = map_pictures(radiograph.pixels, prediction.activation_map, options.maps)
    if options.map_values:
        document["activation_map"] = map_values(prediction.activation_map)
    return json.dumps(document, allow_nan=False).encode()


def _report(data: bytes, _: Radiograph, prediction: Prediction) -> bytes:
    """Return the structured report on a film as a DICOM file's bytes. Runs in a worker thread."""
    from xraytransfer.serve.dicom_results.film_header import read_header
    from xraytransfer.serve.dicom_results.identity import UNREADABLE
    from xraytransfer.serve.dicom_results.results import encode
    from xraytransfer.serve.dicom_results.structured_report import structured_report as make_report

    try:
        header = read_header(BytesIO(data))
    except UNREADABLE as error:
        raise ProblemError("no-report", f"its header cannot be copied ({type(error).__name__})") from error
    try:
        return encode(make_report(header, prediction))
    except ServeError as error:  # a UID is missing
        raise ProblemError("no-report", str(error)) from error
