"""What a structured report costs: from a template, against building it with highdicom each time.

Run: ``python benchmarks/report_speed.py``. Both ways end with the DICOM file's bytes, which are compared. The two take
turns; times are this process's processor time, so other load on the machine falls out.

Target: at most 20 ms for a report from a template.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from pydicom import Dataset
from pydicom.uid import ComputedRadiographyImageStorage

from xraytransfer import Prediction, load
from xraytransfer.radiograph import Radiograph
from xraytransfer.serve.dicom_results.identity import identify
from xraytransfer.serve.dicom_results.results import encode
from xraytransfer.serve.dicom_results.structured_report import built_report, structured_report


def make_film(number: int) -> Dataset:
    """Return the header of a film; each number is another one."""
    film = Dataset()
    film.SOPClassUID, film.SOPInstanceUID = ComputedRadiographyImageStorage, f"1.2.3.4.{number}"
    film.StudyInstanceUID, film.SeriesInstanceUID = f"1.2.3.1.{number}", f"1.2.3.2.{number}"
    film.PatientName, film.PatientID, film.PatientSex = f"Film^{number}", str(number), "F"
    film.StudyDate, film.StudyTime = "20260102", "030405"
    return film


def make_predictions(model: str, count: int) -> list[Prediction]:
    """Return a model's prediction for noise, with other probabilities for each film."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 255, (256, 256), dtype=np.uint8)
    classifier = load(model, device="cpu")
    film = Radiograph(pixels, "noise", "dicom", classifier.description.intensity, False, "window", 12, ())
    (prediction,) = classifier.predict_radiographs([film])
    return [replace(prediction, probability=generator.random(6).astype(np.float32)) for _ in range(count)]


def timed(
    make: Callable[[Dataset, Prediction], Dataset], films: list[tuple[Dataset, Prediction]]
) -> tuple[float, list[bytes]]:
    """Return milliseconds of processor time for a report, and the reports."""
    started = time.process_time()
    made = [encode(make(film, prediction)) for film, prediction in films]
    return (time.process_time() - started) / len(films) * 1000, made


def main() -> None:
    """Print milliseconds for a report either way, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="model file or name (default: default)")
    parser.add_argument("--films", type=int, default=20, help="reports in a turn (default 20)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each way (default 5)")
    options = parser.parse_args()
    films = [(make_film(i), prediction) for i, prediction in enumerate(make_predictions(options.model, options.films))]
    timed(structured_report, films[:1])  # makes the template
    filled_ms, built_ms = [], []
    for _ in range(options.rounds):
        filled, built = timed(structured_report, films), timed(lambda film, p: built_report(identify(film), p), films)
        if filled[1] != built[1]:
            raise SystemExit("a report from a template differs from the one that highdicom builds")
        filled_ms.append(filled[0])
        built_ms.append(built[0])
    ratio = statistics.median(one / other for one, other in zip(filled_ms, built_ms, strict=True))
    print(f"processor time: template {statistics.median(filled_ms):.1f} ms, built {statistics.median(built_ms):.1f} ms")
    print(f"ratio {ratio:.2f} (median of {options.rounds} turns); {options.films} reports a turn, equal bytes")


if __name__ == "__main__":
    main()
