"""How often a wrong token may be tried from one address."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")

import httpx
from starlette.responses import PlainTextResponse

from xraytransfer.serve.metrics import Metrics
from xraytransfer.serve.settings import Settings
from xraytransfer.serve.web import wrong_tokens
from xraytransfer.serve.web.security import Guard

TOKEN = "correct-horse-battery"


@pytest.fixture
def clock(monkeypatch):
    """Return a list whose only item is the time."""
    now = [1000.0]
    monkeypatch.setattr(wrong_tokens.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def ask():
    """Return a function that asks a guarded application from an address, and returns the answer."""
    guard = Guard(PlainTextResponse("in"), Settings(token=TOKEN, max_wrong_tokens=3), Metrics())

    def answer(address: str, token: str | None, path: str = "/v1/model") -> httpx.Response:
        async def get() -> httpx.Response:
            transport = httpx.ASGITransport(guard, client=(address, 4711))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.get(path, headers={"Authorization": f"Bearer {token}"} if token else {})

        return asyncio.run(get())

    return answer


def test_an_address_is_refused_until_its_minute_is_over(ask, clock):
    assert [ask("192.0.2.7", "wrong").status_code for _ in range(4)] == [401, 401, 401, 429]
    refused = ask("192.0.2.7", TOKEN)  # the right one tells nothing now
    assert (refused.status_code, refused.json()["reason"]) == (429, "wrong-tokens")
    assert refused.headers["retry-after"] == "60"
    assert ask("192.0.2.7", None, "/healthz").status_code == 200
    assert ask("192.0.2.8", TOKEN).status_code == 200
    clock[0] += 59
    assert ask("192.0.2.7", TOKEN).headers["retry-after"] == "1"
    clock[0] += 1
    assert ask("192.0.2.7", TOKEN).status_code == 200
    assert ask("192.0.2.7", "wrong").status_code == 401  # counted anew


def test_a_few_mistakes_and_requests_without_a_token_shut_nobody_out(ask, clock):
    for _ in range(10):
        assert [ask("192.0.2.7", "wrong").status_code for _ in range(2)] == [401, 401]
        assert ask("192.0.2.7", None).status_code == 401
        assert ask("192.0.2.7", TOKEN).status_code == 200
        clock[0] += 60


@pytest.mark.parametrize("address", ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_where_a_proxy_may_stand_is_not_counted(ask, clock, address):
    assert {ask(address, "wrong").status_code for _ in range(9)} == {401}


def test_one_ipv6_network_is_one_address(ask, clock):
    assert [ask(f"2001:db8::{n:x}", "wrong").status_code for n in range(4)] == [401, 401, 401, 429]
    assert ask("2001:db8:0:1::1", TOKEN).status_code == 200
    assert [ask(address, "wrong").status_code for address in ["192.0.2.1", "::ffff:192.0.2.1"] * 2][-1] == 429


def test_no_limit(clock):
    tokens = wrong_tokens.WrongTokens(0)
    for _ in range(99):
        tokens.note("192.0.2.7")
    assert tokens.wait_s("192.0.2.7") == 0


def test_what_is_remembered_is_bounded(clock, monkeypatch):
    monkeypatch.setattr(wrong_tokens, "_MOST_ADDRESSES", 5)
    tokens = wrong_tokens.WrongTokens(1)
    for number in range(9):
        tokens.note(f"192.0.2.{number}")
    assert [tokens.wait_s(f"192.0.2.{number}") > 0 for number in range(9)] == [False] * 4 + [True] * 5
