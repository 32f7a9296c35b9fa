"""The state of a running HTTP server, which every request needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xraytransfer.serve.engine import Engine
    from xraytransfer.serve.metrics import Metrics
    from xraytransfer.serve.settings import Settings
    from xraytransfer.serve.web.body_memory import BodyMemory
    from xraytransfer.serve.web.readiness import Readiness

__all__ = ["Server"]


@dataclass(frozen=True)
class Server:
    """The parts of a running server; a request finds it as ``request.app.state.server``."""

    engine: Engine
    settings: Settings
    metrics: Metrics
    memory: BodyMemory
    readiness: Readiness
