"""Sessions of ONNX Runtime: their execution provider, their threads, and checks of their graph.

Conventions
-----------
``onnxruntime.get_available_providers()`` lists what was compiled in, not what works: on a machine
without a GPU the CUDA build still lists CUDA and silently scores on the CPU. Therefore the provider is
taken from a session that has scored once.
The file is over 300 lines long because each way in which a device can fail has a message that says what to do.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from xraytransfer.constants import DEVICES, OLDEST_ONNX_RUNTIME
from xraytransfer.errors import DeviceError, ModelFileError
from xraytransfer.execution_providers import CPU, Provider, gpu_provider, gpu_providers, without_profile
from xraytransfer.model_file import INPUT, OUTPUTS, ModelDescription
from xraytransfer.quality_gate import QUALITY_GATE_OUTPUTS
from xraytransfer.usable_cores import cpu_limit

__all__ = ["check_device", "check_outputs", "film_sizes", "gpu_problem", "open_session", "ramp", "session_options"]

_RAMP_SIZE = (300, 200)
_CURE = (
    "install NVIDIA's driver and the CUDA libraries (pip install 'xraytransfer[gpu]'), "
    "see `xraytransfer doctor`, or use --device cpu"
)

_log = logging.getLogger(__name__)

if os.environ.get("ORT_DISABLE_TELEMETRY") == "1":  # see `xraytransfer`; for programs that had loaded it before
    ort.disable_telemetry_events()


def open_session(
    model: bytes | str | os.PathLike[str],
    device: str = "auto",
    threads: int | None = None,
    *,
    sizes: Sequence[tuple[int, int]] = (),
) -> tuple[ort.InferenceSession, str]:
    """Open a model for scoring, and return the execution provider that runs it.

    Parameters
    ----------
    model : bytes or path-like
        A model file or its bytes.
    device : {'auto', 'cuda', 'tensorrt', 'cpu'}
        ``auto`` takes CUDA where a session really scores on it, else the CPU.
    threads : int, optional
        Threads within one call on the CPU; `cpu_limit()` where absent.
    sizes : sequence of (int, int)
        Rows and columns of the films that will be scored, as `film_sizes` returns them: TensorRT compiles for them.

    Returns
    -------
    onnxruntime.InferenceSession
    str
        Name of the provider that runs, such as ``CPUExecutionProvider``.

    Raises
    ------
    DeviceError
        `device` is unknown, or was asked for and does not run, or this ONNX Runtime is too old; the message says why
        and what to do.
    ModelFileError
        ONNX Runtime cannot load the graph, or its inputs and outputs are not those of a model file.
    """
    _check_version()
    problem = check_device(device)
    if device == "cpu":
        return _checked(_create(model, [CPU], threads)), CPU
    if problem is None:
        preload = getattr(ort, "preload_dlls", None)  # absent before ONNX Runtime 1.21
        if preload is not None:
            preload()
        try:
            return _open_on_gpu(model, device, threads, sizes)
        except DeviceError as error:
            problem = str(error)
    if device != "auto":
        raise DeviceError(f"--device {device}: {problem}; {_CURE}")
    _log.debug("scoring on the CPU: %s", problem)
    return _checked(_create(model, [CPU], threads)), CPU


def check_device(device: str) -> str | None:
    """Refuse a device that cannot run, as far as that is known before a session is opened.

    Parameters
    ----------
    device : str
        As `open_session`.

    Returns
    -------
    str or None
        Why ``auto`` will not find a GPU; None where it may find one, or where `device` is the CPU.

    Raises
    ------
    DeviceError
        `device` is unknown, or a GPU was asked for and the driver offers none, or this ONNX Runtime cannot use it.
    """
    if device not in DEVICES:
        raise DeviceError(f"unknown device {device!r}; known: {', '.join(DEVICES)}")
    if device == "cpu":
        return None
    name = gpu_provider(device)
    problem = gpu_problem()
    if problem is None and name not in ort.get_available_providers():
        problem = f"this build of ONNX Runtime has no {name}"
    if problem is not None and device != "auto":
        raise DeviceError(f"--device {device}: {problem}; {_CURE}")
    return problem


def _check_version() -> None:
    """Refuse an ONNX Runtime that pip would not have installed beside this package."""
    parts = ort.__version__.split(".")
    if tuple(int(part) for part in parts[:2]) < OLDEST_ONNX_RUNTIME:
        oldest = ".".join(map(str, OLDEST_ONNX_RUNTIME))
        raise DeviceError(
            f"ONNX Runtime {ort.__version__} is installed, xraytransfer needs {oldest} or newer: run `pip install "
            f"--upgrade onnxruntime` (or onnxruntime-gpu: whichever `xraytransfer doctor` lists)"
        )


def _open_on_gpu(
    model: bytes | str | os.PathLike[str], device: str, threads: int | None, sizes: Sequence[tuple[int, int]]
) -> tuple[ort.InferenceSession, str]:
    """Open on TensorRT or CUDA; raise DeviceError if another provider than the chosen one scores."""
    name = gpu_provider(device)
    # operations without a GPU kernel (shapes, the antialiased resize) stay on the CPU provider, so
    # session.disable_cpu_ep_fallback would refuse every model; the session's own list is the proof
    try:
        data = model if isinstance(model, bytes) else Path(model).read_bytes()
        session = _new_with_shapes(data, gpu_providers(device, data, sizes), threads)
        running = session.get_providers()[0]
        if running == name:
            _checked(session)
            session.run(None, {INPUT: ramp(session)})
            return session, name
    except ModelFileError:
        raise
    except OSError as error:
        raise ModelFileError(f"{model!s}: the model cannot be read: {error.strerror}") from error
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise DeviceError(f"{name} fails: {_first_line(error)}") from error
    raise DeviceError(f"{name} could not be loaded, the session runs on {running}")


def _new_with_shapes(model: bytes, providers: list[Provider], threads: int | None) -> ort.InferenceSession:
    """Open with the shapes that TensorRT compiles for, and without where it takes only a part of the graph."""
    try:
        return _new(model, [*providers, CPU], threads)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        plain = without_profile(providers)
        # TensorRT's parts of a graph that it cannot take whole have inputs of their own, whose shapes nobody knows
        if plain == providers or "dynamic shape inputs" not in str(error):
            raise
        _log.warning("TensorRT takes this model only in parts: it compiles when films come, not at the start")
        return _new(model, [*plain, CPU], threads)


def _create(model: bytes | str | os.PathLike[str], providers: list[Any], threads: int | None) -> ort.InferenceSession:
    try:
        return _new(model, providers, threads)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise ModelFileError(f"ONNX Runtime {ort.__version__} cannot load the graph: {_first_line(error)}") from error


def _new(model: bytes | str | os.PathLike[str], providers: list[Any], threads: int | None) -> ort.InferenceSession:
    source = model if isinstance(model, bytes) else os.fspath(model)
    options = session_options(threads)
    # its own fallback prints to standard output, among our results, and changes the provider unasked
    try:
        return ort.InferenceSession(source, options, providers=providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        # what it does to int8 weights for processors without VNNI fails where two nodes share them or their zero
        # points, as in files of onnxslim
        if "AddInitializerWithOrtValue" not in str(error):
            raise
    _log.info("int8 is computed in float32: on this processor ONNX Runtime cannot change what its nodes share")
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return ort.InferenceSession(source, options, providers=providers, enable_fallback=0)


def session_options(threads: int | None = None) -> ort.SessionOptions:
    """Return the options of a session, without the execution provider.

    Parameters
    ----------
    threads : int, optional
        Threads within one call on the CPU; `cpu_limit()` where absent.

    Returns
    -------
    onnxruntime.SessionOptions
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or cpu_limit()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # refusals are raised and worded by us, not printed by the library
    # idle threads that spin take the cores from decoding and from neighbours
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # x86 processors without VNNI add two int8 products in 16 bits, where they can overflow; others ignore this
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _checked(session: ort.InferenceSession) -> ort.InferenceSession:
    """Refuse a graph whose inputs and outputs are not those of a model file."""
    inputs = {value.name: value.type for value in session.get_inputs()}
    outputs = {value.name: value.type for value in session.get_outputs()}
    if inputs not in ({INPUT: "tensor(uint8)"}, {INPUT: "tensor(float)"}):
        raise ModelFileError(f"the graph's inputs are {inputs}, expected {INPUT} of uint8, or float32 if fixed, alone")
    missing = [name for name in OUTPUTS if outputs.get(name) != "tensor(float)"]
    if missing:
        found = ", ".join(f"{name} ({kind})" for name, kind in outputs.items())
        raise ModelFileError(f"the graph lacks the float32 output {missing[0]}; it has {found or 'none'}")
    return session


def ramp(session: ort.InferenceSession) -> NDArray[Any]:
    """Return a film that a graph takes, from black to white: 300 x 200 pixels where it takes any size.

    Returns
    -------
    ndarray
        uint8 or float32, shape (1, 1, rows, columns).
    """
    (entry,) = session.get_inputs()
    rows, columns = (
        side if isinstance(side, int) else free for side, free in zip(entry.shape[2:], _RAMP_SIZE, strict=True)
    )
    levels = np.linspace(0, 255, rows * columns).reshape(1, 1, rows, columns).astype(np.uint8)
    return levels.astype(np.float32) if entry.type == "tensor(float)" else levels


def film_sizes(description: ModelDescription) -> list[tuple[int, int]]:
    """Return rows and columns of all that a model is given: films at its resolution first, its self-test, a ramp."""
    if description.fixed_input:
        return [description.resolution]
    test = description.self_test
    return [description.resolution, _RAMP_SIZE, *([(test.rows, test.columns)] if test else [])]


def check_outputs(session: ort.InferenceSession, description: ModelDescription) -> None:
    """Refuse a graph whose input or outputs are not those that its description names.

    Raises
    ------
    ModelFileError
        The input is of another size, an output is absent, or does not hold one number for each observation and member.
    """
    count, members, gate = len(description.observations), len(description.members), description.quality_gate
    sizes = {
        "probability": {1: count},
        "member_probability": {1: members, 2: count},
        "activation_map": {1: count},
        QUALITY_GATE_OUTPUTS[0]: {1: len(gate.kinds)} if gate else {},
    }
    (entry,) = session.get_inputs()
    _check_input(entry, description)
    outputs = session.get_outputs()
    names = {output.name for output in outputs}
    if missing := [name for name in description.outputs if name not in names]:
        raise ModelFileError(f"{description.path}: its description names {missing[0]}, its graph lacks it")
    for output in outputs:
        for axis, count in sizes.get(output.name, {}).items():
            size = output.shape[axis] if len(output.shape) > axis else None
            if size != count and not isinstance(size, str):  # a name: only known when it runs
                raise ModelFileError(
                    f"{description.path}: output {output.name} has shape {output.shape}, "
                    f"expected {count} along axis {axis}"
                )


def _check_input(entry: ort.NodeArg, description: ModelDescription) -> None:
    sides, resolution = list(entry.shape[2:]), list(description.resolution)
    if sides != resolution if description.fixed_input else any(isinstance(side, int) for side in sides):
        expected = f"of {resolution} alone" if description.fixed_input else "of any size"
        raise ModelFileError(f"{description.path}: its description names an input {expected}, its graph one of {sides}")


def gpu_problem() -> str | None:
    """Return why NVIDIA's driver offers no GPU here, or None where it does.

    Asks the driver itself, which is quick and silent, before ONNX Runtime is made to try.

    References
    ----------
    CUDA driver API: cuInit, cuDeviceGetCount.
    """
    if sys.platform == "darwin":
        return "there is no CUDA on macOS"
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return f"NVIDIA's driver ({library}) is not installed"
    status = driver.cuInit(0)
    if status != 0:
        return f"NVIDIA's driver does not start (cuInit: error {status})"
    count = ctypes.c_int(0)
    status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status != 0 or count.value < 1:
        return "NVIDIA's driver finds no GPU"
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
