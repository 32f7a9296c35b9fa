"""The container file: nothing in it names what is not there, and its health check tells a live server from none."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("starlette")

from xraytransfer.serve.cli import serve

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "Containerfile"


def instructions() -> list[tuple[str, str]]:
    """Return instructions and their arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def of(word: str) -> list[str]:
    return [rest for found, rest in instructions() if found == word]


def project_file() -> dict:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_base_is_pinned_and_python_new_enough():
    assert [base.split()[0] for base in of("FROM")] == ["$BASE", "$BASE"]
    found = re.fullmatch(r"BASE=python:(\d+)\.(\d+)\.\d+-slim-\w+", of("ARG")[0])
    assert found
    assert (int(found[1]), int(found[2])) >= (3, 10)


def test_what_is_copied_is_there_and_is_all_that_the_wheel_needs():
    copied = {name for rest in of("COPY") for name in shlex.split(rest)[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    project = project_file()
    needed = set(project["tool"]["setuptools"]["package-dir"].values()) | set(project["project"]["license-files"])
    assert needed | {project["project"]["readme"], "pyproject.toml"} == copied
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sent == copied


def test_the_extras_exist():
    extras = project_file()["project"]["optional-dependencies"]
    named = [extra for found in re.findall(r"EXTRAS=([\w,]+)", FILE.read_text()) for extra in found.split(",")]
    assert set(named) == {"serve", "gpu"} <= set(extras)


def test_it_runs_as_nobody_special():
    (user,) = of("USER")
    assert int(user) > 1000
    (made,) = [rest for rest in of("RUN") if "useradd" in rest]
    assert f"useradd --uid {user} --gid {user} " in made
    assert f"-o {user} -g {user} {of('VOLUME')[0]}" in made
    order = [word for word, _ in instructions()]
    assert order.index("USER") < order.index("ENTRYPOINT")


def test_the_entry_point_is_our_command_with_its_options():
    (command,) = [json.loads(rest) for rest in of("ENTRYPOINT")]
    assert command[:2] == ["xraytransfer", "serve"]
    assert serve.make_context("serve", command[2:]).params["host"] == "0.0.0.0"
    ports = of("EXPOSE")[0].split()
    defaults = serve.make_context("serve", []).params
    assert ports[0] == str(defaults["port"])
    assert ports[1] == next(str(option.default) for option in serve.params if option.name == "dicom_port")


def test_the_health_check(serve_http, monkeypatch):
    (check,) = [rest.partition("CMD ")[2] for rest in of("HEALTHCHECK")]
    command = [sys.executable, *json.loads(check)[1:]]
    assert "8760/readyz" in command[-1]
    server = serve_http(allowed_hosts=("films.example",))  # as behind a proxy
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # as containers are told where there is one
    command[-1] = command[-1].replace("8760", str(server.port))
    assert subprocess.run(command, check=False, timeout=60).returncode == 0
    command[-1] = command[-1].replace(str(server.port), "1")
    assert subprocess.run(command, check=False, timeout=60, stderr=subprocess.DEVNULL).returncode != 0


def test_the_docs_name_it():
    page = (ROOT / "docs" / "deploy.md").read_text()
    assert "Containerfile" in page
    assert "/var/lib/xraytransfer" in page
    assert of("VOLUME") == ["/var/lib/xraytransfer"]
