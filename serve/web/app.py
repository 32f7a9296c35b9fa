"""The application: routes and layers."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from xraytransfer.constants import RESEARCH_NOTICE
from xraytransfer.errors import XrayTransferError
from xraytransfer.serve.web.body_memory import BodyMemory
from xraytransfer.serve.web.linger import Linger
from xraytransfer.serve.web.openapi import openapi_document
from xraytransfer.serve.web.predict import predict, structured_report
from xraytransfer.serve.web.problems import ProblemError, handle
from xraytransfer.serve.web.readiness import Readiness
from xraytransfer.serve.web.reference import reference_page
from xraytransfer.serve.web.security import Guard
from xraytransfer.serve.web.state import Server
from xraytransfer.serve.web.traffic import Traffic
from xraytransfer.serve.web.uploads import MEDIA_TYPES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from xraytransfer.serve.engine import Engine
    from xraytransfer.serve.metrics import Metrics
    from xraytransfer.serve.settings import Settings

__all__ = ["create_app"]

_FILES = files("xraytransfer.serve.page")
_SCRIPTS = sorted(file.name for file in _FILES.iterdir() if file.name.endswith(".js"))
_PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    **{f"/{name}": (name, "text/javascript") for name in _SCRIPTS},
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


def create_app(engine: Engine, settings: Settings, metrics: Metrics) -> Starlette:
    """Return the ASGI application around an engine that runs.

    Parameters
    ----------
    engine : Engine
        The caller starts and ends it.
    settings : Settings
    metrics : Metrics
        The engine's, so that one registry holds everything.
    """
    classifier = engine.classifier
    metrics.name_model(
        name=classifier.description.name,
        version=classifier.description.version,
        sha256=classifier.description.sha256,
        provider=classifier.provider,
    )
    routes = [
        *(Route(path, _file(name, kind)) for path, (name, kind) in _PAGE.items()),
        Route("/v1/predict", predict, methods=["POST"]),
        Route("/v1/sr", structured_report, methods=["POST"]),
        Route("/v1/model", _model),
        Route("/healthz", _health),
        Route("/readyz", _ready),
        Route("/metrics", _metrics),
        Route("/openapi.json", _openapi),
        Route("/reference", _reference),
    ]
    middleware = [
        Middleware(Linger, limit_s=settings.idle_timeout_s),
        Middleware(Traffic, metrics=metrics, routes=[route.path for route in routes]),
        Middleware(Guard, settings=settings, metrics=metrics),
    ]
    if settings.cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.cors_origins),
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type"],
            )
        )
    kinds: list[type[Exception]] = [ProblemError, XrayTransferError, HTTPException, ClientDisconnect]
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=dict.fromkeys(kinds, handle))
    memory = BodyMemory(settings.max_held_bytes, metrics)
    app.state.server = Server(engine, settings, metrics, memory, Readiness(engine, settings))
    return app


def _file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that serves one of the page's files."""
    content = (_FILES / name).read_bytes()

    async def endpoint(_: Request) -> Response:
        return Response(content, media_type=media_type, headers={"cache-control": "no-cache"})

    return endpoint


async def _model(request: Request) -> Response:
    server: Server = request.app.state.server
    settings, description = server.settings, server.engine.classifier.description
    limits = {
        "file_bytes": settings.max_file_bytes,
        "request_bytes": settings.max_request_bytes,
        "files": settings.max_files,
        "pixels": settings.max_pixels,
        "seconds": settings.deadline_s,
    }
    return JSONResponse(
        {
            "model": description.document,
            "sha256": description.sha256,
            "provider": server.engine.classifier.provider,
            "media_types": MEDIA_TYPES,
            "limits": limits,
            "notice": RESEARCH_NOTICE,
        }
    )


async def _health(_: Request) -> Response:
    return JSONResponse({"alive": True})


async def _ready(request: Request) -> Response:
    state = await request.app.state.server.readiness.check()
    if not state["ready"]:
        raise ProblemError("not-ready", state["problem"], {"Retry-After": "5"})
    return JSONResponse(state)


async def _metrics(request: Request) -> Response:
    metrics: Metrics = request.app.state.server.metrics
    return Response(metrics.render(), headers={"content-type": metrics.content_type})


async def _openapi(_: Request) -> Response:
    return JSONResponse(openapi_document())


async def _reference(_: Request) -> Response:
    return Response(reference_page(), media_type="text/html")
