"""``xraytransfer doctor``: one page on what works here: versions, execution providers, decoders, models.

The libraries are imported inside the functions, so that the list of commands does not wait for them.
"""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import click

from xraytransfer.errors import XrayTransferError
from xraytransfer.usable_cores import cpu_limit

if TYPE_CHECKING:
    import onnxruntime as ort

__all__ = ["clashing_distributions", "doctor", "page"]

_PACKAGES = ("numpy", "pydicom", "pillow", "imagecodecs", "click")
_EXTRAS = ("torch", "timm", "onnx", "starlette", "pynetdicom", "highdicom")
_ONNX_RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
_LARGE_FILM = (2500, 2048)
_WITH_CUDA = (("linux", "x86_64"), ("win32", "AMD64"))


@click.command()
def doctor() -> None:
    """Print what works here: devices, models, decoders.

    It also prints versions, and tries each device with a real session. Exit code 3 if no film can be scored.
    """
    text, works = page()
    click.echo(text)
    click.get_current_context().exit(0 if works else 3)


def page() -> tuple[str, bool]:
    """Look at this installation.

    Returns
    -------
    str
        One page of text.
    bool
        Whether films can be scored: a shipped model is whole and scores here.
    """
    models, works = _models()
    parts = [
        ("Versions", _versions()),
        ("ONNX Runtime", _onnx_runtime()),
        ("Where films can be scored", _devices()),
        ("Models", models),
        ("Decoders", _decoders()),
    ]
    return "\n\n".join(f"{title}\n" + "\n".join(f"  {line}" for line in lines) for title, lines in parts), works


def clashing_distributions() -> list[str]:
    """Return the distributions of ONNX Runtime that are installed, each as ``name version``.

    More than one share one import folder: the last one installed wins, silently.
    """
    return [f"{name} {installed}" for name in _ONNX_RUNTIMES if (installed := _version(name)) is not None]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _versions() -> list[str]:

    installed = [f"{name} {_version(name) or 'missing'}" for name in _PACKAGES]
    extras = [f"{name} {_version(name) or 'not installed'}" for name in _EXTRAS]
    return [
        f"xraytransfer {version('xraytransfer')}, Python {platform.python_version()}, {platform.platform()}",
        ", ".join(installed),
        "of the extras: " + ", ".join(extras),
        f"cores that this process may use: {cpu_limit()}",
    ]


def _onnx_runtime() -> list[str]:
    import onnxruntime as ort

    installed = clashing_distributions()
    lines = [f"{', '.join(installed) or 'not installed by pip'}; imported: {ort.__version__}"]
    if len(installed) > 1:
        names = " ".join(line.split()[0] for line in installed)
        # as pyproject.toml chooses: where the build with CUDA has wheels
        keep = "onnxruntime-gpu" if (sys.platform, platform.machine()) in _WITH_CUDA else "onnxruntime"
        lines.append(f"PROBLEM: these overwrite each other. Run: pip uninstall -y {names} && pip install {keep}")
    return lines


def _devices() -> list[str]:
    """Try each device for real, on a shipped model."""
    from xraytransfer import model_file, runtime

    shipped = list(model_file.shipped_models().values())
    problem = runtime.gpu_problem()
    lines = [f"no GPU: {problem}" if problem else "NVIDIA's driver: works"]
    if not shipped:
        return [*lines, "no shipped model to try them with"]
    # where there is no driver, the first line has said why the others do not run
    for device in ("cpu",) if problem else ("cpu", "cuda", "tensorrt"):
        try:
            sizes = [*runtime.film_sizes(model_file.describe(shipped[0])), _LARGE_FILM]
            session, provider = runtime.open_session(shipped[0].read_bytes(), device, sizes=sizes)
            lines.append(f"--device {device}: works ({provider}){_unlike_the_cpu(session, provider)}")
        except XrayTransferError as error:
            lines.append(f"--device {device}: {str(error).removeprefix(f'--device {device}: ')}")
    return lines


def _unlike_the_cpu(session: ort.InferenceSession, provider: str) -> str:
    """Return how far a provider's answer for one large film lies from the CPU's; nothing for the CPU itself."""
    from xraytransfer import model_file, runtime
    from xraytransfer.self_test import made_picture

    if provider == "CPUExecutionProvider":
        return ""
    shipped = next(iter(model_file.shipped_models().values()))
    rows, columns = _LARGE_FILM
    film = made_picture(rows, columns, 2)[None, None]
    sessions = (session, runtime.open_session(shipped.read_bytes(), "cpu")[0])
    ours, right = (each.run(["probability"], {model_file.INPUT: film})[0] for each in sessions)
    difference = abs(ours - right).max()
    return f"; a probability of a film of {rows} x {columns} pixels differs from the CPU's by {difference:.1e}"


def _models() -> tuple[list[str], bool]:
    from xraytransfer import model_file
    from xraytransfer.model_summary import verified

    lines, works = [], False
    for name, path in model_file.shipped_models().items():
        try:
            verified(path, "cpu")
            lines.append(f"{name}: whole, scores")
            works = True
        except XrayTransferError as error:
            lines.append(f"{name}: PROBLEM: {error}")
    return lines or ["PROBLEM: no model ships with this installation"], works


def _decoders() -> list[str]:
    from xraytransfer.reading.decoders import decoders

    return [f"{uid:<24} {name}: {', '.join(available) if available else 'NONE'}" for uid, name, available in decoders()]
