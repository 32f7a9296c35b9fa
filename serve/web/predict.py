"""Predict: the endpoints that score films."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from xraytransfer.errors import RadiographError
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

_RETRY_S = 0.02
_UNSTATED = ("application/octet-stream", "")  # what browsers and libraries call a file they do not know


@dataclass(frozen=True)
class Options:
    """What a request asks for beside the numbers.

    Attributes
    ----------
    maps : tuple of str
        Observations whose activation map is wanted as a picture over the film.
    map_values : bool
        Whether the activation maps are wanted as numbers.
    picture : int or None
        Longer side in pixels of the film as it was read, if wanted.
    any_modality : bool
        Whether to score what its header says is no radiograph of the chest.
    any_film : bool
        Whether to score what the model's own judge refuses.
    """

    maps: tuple[str, ...] = ()
    map_values: bool = False
    picture: int | None = None
    any_modality: bool = False
    any_film: bool = False

    @classmethod
    def read(cls, query: QueryParams) -> Options:
        """Read a query, or raise `ProblemError` (``bad-request``) naming what is wrong with it."""
        unknown = set(query) - {"map", "picture", "any_modality", "any_film"}
        if unknown:
            raise ProblemError("bad-request", "unknown query parameter; known: map, picture, any_modality, any_film")
        known = [observation.identifier for observation in OBSERVATIONS]
        wanted = [word for word in query.get("map", "").split(",") if word]
        maps = known if "all" in wanted else [word for word in wanted if word != "values"]
        if not set(maps) <= set(known):
            raise ProblemError("bad-request", f"map: expected all, values, or any of {', '.join(known)}")
        side = query.get("picture")
        if side is not None and not (side.isdecimal() and len(side) < 6 and 64 <= int(side) <= 4096):
            raise ProblemError("bad-request", "picture: expected the longer side, 64 to 4096 pixels")
        for name in ("any_modality", "any_film"):
            if query.get(name, "false").lower() not in {"true", "false"}:
                raise ProblemError("bad-request", f"{name}: expected true or false")
        return cls(
            tuple(maps),
            "values" in wanted,
            int(side) if side else None,
            query.get("any_modality", "").lower() == "true",
            query.get("any_film", "").lower() == "true",
        )


async def predict(request: Request) -> Response:
    """Score one film (its bytes are the body) or many (multipart), in their order."""
    server: Server = request.app.state.server
    options = Options.read(request.query_params)
    kind = media_type(request.headers.get("content-type"))
    if kind not in (*MEDIA_TYPES, "multipart/form-data"):
        raise ProblemError(
            "unsupported-media-type", f"send {', '.join(MEDIA_TYPES)}, or several as multipart/form-data"
        )
    if server.engine.full:
        raise QueueFullError(server.engine.retry_after)
    with server.memory.share() as share:
        if kind == "multipart/form-data":
            return await _predict_many(request, options, share)
        answer = await _score_body(request, kind, options, partial(_render, options), share)
    return Response(answer, media_type="application/json")


async def structured_report(request: Request) -> Response:
    """Score one DICOM film and answer with its DICOM SR."""
    server: Server = request.app.state.server
    kind = media_type(request.headers.get("content-type"))
    if kind != "application/dicom":
        raise ProblemError("unsupported-media-type", "a structured report needs the film as application/dicom")
    options = Options.read(request.query_params)
    if server.engine.full:
        raise QueueFullError(server.engine.retry_after)
    with server.memory.share() as share:
        report = await _score_body(request, kind, options, None, share)
    return Response(report, media_type="application/dicom")


async def _score_body(
    request: Request,
    kind: str,
    options: Options,
    finish: Callable[[Radiograph, Prediction], bytes] | None,
    share: Share,
) -> bytes:
    """Return what `finish` makes of the film in the body; None makes a structured report."""
    server: Server = request.app.state.server
    data = await read_body(request, server.settings, share)
    if not data:
        raise ProblemError("empty-body", "the body is empty: send one film")
    check_signature(data, kind)
    until = time.monotonic() + server.settings.deadline_s
    future = server.engine.submit_with(
        data, finish or partial(_report, data), until, any_modality=options.any_modality, any_film=options.any_film
    )
    try:
        answer = await _unless_left(request, future, until)
    except RadiographError:
        server.metrics.films.labels("refused").inc()
        raise
    server.metrics.films.labels("scored").inc()
    return answer


async def _unless_left(request: Request, future: Future[T], until: float) -> T:
    """Wait for a film whose request was read to its end; give the place back if the client leaves."""
    answer = asyncio.wrap_future(future)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((answer, leaving), timeout=until - time.monotonic(), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        if leaving.done():
            raise ClientDisconnect
        raise DeadlineError
    finally:
        leaving.cancel()
        answer.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _predict_many(request: Request, options: Options, share: Share) -> Response:
    """Score a multipart request's films while the rest arrives; a refused film does not stop the others."""
    server: Server = request.app.state.server
    window = asyncio.Semaphore(
        min(server.settings.queue_size, 2 * max(server.engine.workers, server.engine.batch_size))
    )
    films: list[asyncio.Task[bytes]] = []
    try:
        async for part in read_parts(request, server.settings, share):
            await window.acquire()
            film = asyncio.create_task(_one_of_many(server, options, len(films), part))
            film.add_done_callback(partial(_make_room, window, share, len(part.data)))
            films.append(film)
        if not films:
            raise ProblemError("empty-body", "the multipart body holds no film")
        outcomes = await _all_unless_left(request, films)
    finally:
        for film in films:
            film.cancel()
    results = [_settled(server, index, outcome) for index, outcome in enumerate(outcomes)]
    return Response(b'{"results": [' + b", ".join(results) + b"]}", media_type="application/json")


def _make_room(window: asyncio.Semaphore, share: Share, size: int, _: asyncio.Task[bytes]) -> None:
    share.shrink(size)
    window.release()


async def _all_unless_left(request: Request, films: list[asyncio.Task[bytes]]) -> list[bytes | BaseException]:
    answers = asyncio.create_task(_outcomes(films))
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((answers, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not answers.done():
            raise ClientDisconnect
        return answers.result()
    finally:
        leaving.cancel()
        answers.cancel()


async def _outcomes(films: list[asyncio.Task[bytes]]) -> list[bytes | BaseException]:
    return await asyncio.gather(*films, return_exceptions=True)


async def _one_of_many(server: Server, options: Options, index: int, part: Part) -> bytes:
    until = time.monotonic() + server.settings.deadline_s
    if part.media_type not in (*MEDIA_TYPES, *_UNSTATED):
        raise ProblemError("unsupported-media-type", f"a part's Content-Type: expected {', '.join(MEDIA_TYPES)}")
    if part.media_type in MEDIA_TYPES:
        check_signature(part.data, part.media_type)
    finish = partial(_render, options, index=index)
    while True:
        try:
            future = server.engine.submit_with(
                part.data, finish, until, any_modality=options.any_modality, any_film=options.any_film
            )
            break
        except QueueFullError:  # others' films: this request was let in, so it waits its turn
            if time.monotonic() > until:
                raise
            await asyncio.sleep(_RETRY_S)
    return await asyncio.wait_for(asyncio.wrap_future(future), until - time.monotonic())


def _settled(server: Server, index: int, outcome: bytes | BaseException) -> bytes:
    """Return a film's part of the answer, and count it."""
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
    }
    return json.dumps(refusal).encode()


def _render(options: Options, radiograph: Radiograph, prediction: Prediction, index: int | None = None) -> bytes:
    """Return a prediction as JSON; in a worker thread, where encoding pictures blocks nobody."""
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
    """Return the structured report on a film as a DICOM file's bytes; in a worker thread."""
    import pydicom

    from xraytransfer.serve.dicom_results.structured_report import structured_report as make_report

    report = make_report(pydicom.dcmread(BytesIO(data), stop_before_pixels=True), prediction)
    file = BytesIO()
    pydicom.dcmwrite(file, report, enforce_file_format=True)
    return file.getvalue()
