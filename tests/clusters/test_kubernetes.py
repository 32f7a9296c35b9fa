"""Kubernetes: the commands in the manifests of docs/scale.md are run as they stand, but for addresses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="pip install pyyaml")

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "scale.md"


def manifests() -> dict[str, dict[str, Any]]:
    """Return the Kubernetes objects in the document by kind."""
    found = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)]
    return {one["kind"]: one for one in found}


def run(command: str, manifest: Path, scores: Path, model: Path, **environment: str) -> None:
    """Run a command of the document with files of this machine."""
    program = f"'{sys.executable}' -m xraytransfer"
    for written, here in {
        "s3://archive/films.manifest": str(manifest),
        "s3://bucket/scores": str(scores),
        "xraytransfer predict": f"{program} predict --model '{model}' --device cpu",
    }.items():
        assert written in command
        command = command.replace(written, here)
    variables = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(path for path in sys.path if path), **environment}
    subprocess.run(["sh", "-c", command], check=True, env=variables)


def test_indexed_job_scores_every_shard(manifest: Path, toy_model: Path, tmp_path: Path):
    spec = manifests()["Job"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert container["command"] == ["sh", "-c"]
    assert (spec["completionMode"], f"/{spec['completions']}" in container["args"][0]) == ("Indexed", True)
    command = container["args"][0].replace(f"/{spec['completions']}", "/3")
    for index in range(3):
        run(command, manifest, tmp_path / "scores", toy_model, JOB_COMPLETION_INDEX=str(index))
    assert len(list((tmp_path / "scores").glob("part-*-of-000003-*"))) == 3


@pytest.mark.peer
def test_ray_job_scores_the_archive(manifest: Path, toy_model: Path, tmp_path: Path):
    pytest.importorskip("ray", reason="pip install 'xraytransfer[cluster]'")
    run(manifests()["RayJob"]["spec"]["entrypoint"], manifest, tmp_path / "scores", toy_model)
    assert len(list((tmp_path / "scores").glob("part-*-of-000001-*"))) == 1
