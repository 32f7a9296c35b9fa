"""What each runtime answers, compared with ONNX Runtime on the CPU: the table of docs/model-file.md.

    python benchmarks/runtimes.py prepare FOLDER FILM [FILM ...]     # with xraytransfer[onnx]; films as 8-bit pictures
    python benchmarks/runtimes.py measure FOLDER                     # with numpy and any of the runtimes below
    python benchmarks/runtimes.py speed FOLDER                       # ONNX Runtime: `any` against `fixed`

`prepare` writes the shipped models as `any`, `fixed` and `fixed-float32` files, the films, and the answers that ONNX
Runtime gives for films that Pillow resized. `measure` loads each file in each runtime that this Python can import
(onnxruntime, openvino, cv2, tract, ncnn with pnnx), so that old and conflicting versions have an environment of their
own each. Printed is the largest difference of a probability over all films, each given whole to `any` files; "refused"
means that the runtime does not load or run the file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

MODELS = ("default", "default-small")
FORMS = {"any": {}, "fixed": {}, "fixed-float32": {"kind": "float32"}}
Run = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    """Do one of the three steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["prepare", "measure", "speed"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("films", nargs="*", type=Path)
    args = parser.parse_args()
    if args.step == "prepare":
        prepare(args.folder, args.films)
    elif args.step == "measure":
        measure(args.folder)
    else:
        speed(args.folder)


def prepare(folder: Path, films: list[Path]) -> None:
    """Write model files, films and right answers."""
    from PIL import Image

    import xraytransfer
    from xraytransfer.export.file_copies import fixed_copy, renewed_copy
    from xraytransfer.resize import resize

    folder.mkdir(parents=True, exist_ok=True)
    pixels = [np.asarray(Image.open(film).convert("L")) for film in films]
    answers = {}
    for name in MODELS:
        renewed_copy(name, folder / f"{name}-any.onnx", overwrite=True)
        for form, options in list(FORMS.items())[1:]:
            wide = {"float32_weights": True} if form == "fixed-float32" and name == "default" else {}
            fixed_copy(name, folder / f"{name}-{form}.onnx", overwrite=True, **options, **wide)
        classifier = xraytransfer.load(folder / f"{name}-any.onnx", device="cpu")
        session, resolution = classifier._session, classifier.description.resolution
        small = [resize(film, resolution) for film in pixels]
        answers[name] = [session.run(["probability"], {"image": film[None, None]})[0][0].tolist() for film in small]
        test = classifier.description.document["self_test"]
        answers[f"{name} self-test"] = test
    np.savez(folder / "films.npz", *pixels)
    np.savez(folder / "small.npz", *small)
    (folder / "answers.json").write_text(json.dumps(answers))


def measure(folder: Path) -> None:
    """Print a row for each runtime, file and precision."""
    answers = json.loads((folder / "answers.json").read_text())
    films, small = (list(np.load(folder / f"{name}.npz").values()) for name in ("films", "small"))
    print("| runtime | precision | model | " + " | ".join(FORMS) + " | self-test |")
    for runtime, precision, opened in runtimes():
        for name in MODELS:
            cells = []
            for form in FORMS:
                kind = np.float32 if form == "fixed-float32" else np.uint8
                given = [film[None, None].astype(kind) for film in (films if form == "any" else small)]
                cells.append(difference(opened, folder / f"{name}-{form}.onnx", given, answers[name]))
            test = answers[f"{name} self-test"]
            picture = stripes(test["rows"], test["columns"], test["detail"])[None, None]
            found = difference(opened, folder / f"{name}-any.onnx", [picture], [test["probability"]])
            print(
                f"| {runtime} | {precision} | {name} | {' | '.join(cells)} | {found} of {test['tolerance']} |",
                flush=True,
            )


def difference(opened: Callable[[Path], Run], path: Path, films: list[np.ndarray], answers: list[list[float]]) -> str:
    """Return the largest difference as text; "refused", with the reason on standard error, where it does not run."""
    try:
        run = opened(path)
        found = [np.asarray(run(film)).ravel() for film in films]
    except Exception as error:  # noqa: BLE001 each runtime has its own
        print(f"{path.name}: {str(error).strip().splitlines()[0][:200]}", file=sys.stderr)
        return "refused"
    largest = max(float(np.abs(one - right).max()) for one, right in zip(found, answers, strict=True))
    return f"{largest:.1e}"


def stripes(rows: int, columns: int, detail: int) -> np.ndarray:
    """Return the self-test's picture, as docs/model-file.md has it: xraytransfer is not needed here."""
    row, column = np.arange(rows)[:, None], np.arange(columns)
    ground = 160 - 600 * column * (columns - 1 - column) // (columns * columns)
    return (ground + 48 * ((row + column) // detail % 2)).astype(np.uint8)


def runtimes() -> Iterator[tuple[str, str, Callable[[Path], Run]]]:
    """Yield name with version, precision, and a function that opens a file, for each runtime that is here."""
    if find_spec("onnxruntime"):
        import onnxruntime

        yield f"ONNX Runtime {onnxruntime.__version__}", "float32", _onnxruntime
    if find_spec("openvino"):
        import openvino

        core = openvino.Core()
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        for precision in ("f32", *(["bf16"] if "BF16" in able else [])):

            def opened(path: Path, precision: str = precision) -> Run:
                model = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": precision})
                return lambda film: model({"image": film})["probability"]

            yield f"OpenVINO {openvino.__version__.partition('-')[0]}", precision, opened
    for module, name, opened in (("cv2", "OpenCV", _opencv), ("tract", "tract", _tract), ("ncnn", "ncnn", _ncnn)):
        if find_spec(module):
            package = "opencv-python-headless" if module == "cv2" else module
            yield f"{name} {version(package)}", "float32", opened


def _onnxruntime(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda film: session.run(["probability"], {"image": film})[0]


def _opencv(path: Path) -> Run:
    import cv2

    network = cv2.dnn.readNetFromONNX(str(path))

    def run(film: np.ndarray) -> np.ndarray:
        network.setInput(film, "image")
        return network.forward("probability")

    return run


def _tract(path: Path) -> Run:
    import tract

    @cache
    def runnable(shape: str):
        model = tract.onnx().load(str(path))  # its shapes are settled before it is made ready
        model.set_input_fact(0, shape)
        return model.into_model().into_runnable()

    def run(film: np.ndarray) -> np.ndarray:
        shape = ",".join(map(str, film.shape)) + (",f32" if film.dtype == np.float32 else ",u8")
        return runnable(shape).run([film])[0].to_numpy()

    return run


def _ncnn(path: Path) -> Run:
    import ncnn

    if "fixed-float32" not in path.name:
        raise ValueError("ncnn takes float32 of a fixed size")
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder) / "model.onnx"
        converted.write_bytes(path.read_bytes())
        pnnx = Path(sys.executable).with_name("pnnx")
        command = [pnnx, converted, "inputshape=[1,1,128,128]", "fp16=0"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        network = ncnn.Net()
        network.opt.use_fp16_arithmetic = network.opt.use_fp16_storage = network.opt.use_fp16_packed = False
        if network.load_param(str(converted.with_suffix(".ncnn.param"))) != 0:
            raise ValueError("ncnn does not load what pnnx made of it")
        network.load_model(str(converted.with_suffix(".ncnn.bin")))

    def run(film: np.ndarray) -> np.ndarray:
        extractor = network.create_extractor()
        extractor.input("in0", ncnn.Mat(np.ascontiguousarray(film[0])).clone())
        return np.array(extractor.extract("out0")[1])

    return run


def speed(folder: Path) -> None:
    """Print times of one film and of 16, whole and resized, with the ratio to `fixed`; medians, taken in turns."""
    import onnxruntime

    films, small = (list(np.load(folder / f"{name}.npz").values()) for name in ("films", "small"))
    whole = max(films, key=lambda film: film.size)
    for name in MODELS:
        sessions = {form: _onnxruntime(folder / f"{name}-{form}.onnx") for form in ("any", "fixed")}
        for count in (1, 16):
            one = np.repeat(small[0][None, None], count, 0)
            ways = {
                "fixed": (sessions["fixed"], one),
                "any, resized before": (sessions["any"], one),
                f"any, whole {whole.shape[0]} x {whole.shape[1]}": (
                    sessions["any"],
                    np.repeat(whole[None, None], count, 0),
                ),
            }
            taken = _medians(ways)
            for way, seconds in taken.items():
                ratio = seconds / taken["fixed"]
                print(f"{name}, {count} films, {way}: {1000 * seconds:.1f} ms, {ratio:.2f} of fixed")
    print(f"ONNX Runtime {onnxruntime.__version__}")


def _medians(ways: dict[str, tuple[Run, np.ndarray]], rounds: int = 15) -> dict[str, float]:
    times: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(rounds + 2):
        for way, (run, film) in ways.items():
            start = time.perf_counter()
            run(film)
            if turn > 1:
                times[way].append(time.perf_counter() - start)
    return {way: statistics.median(values) for way, values in times.items()}


if __name__ == "__main__":
    main()
