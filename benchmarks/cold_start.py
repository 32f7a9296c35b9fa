"""From the start of the process to a printed result, one film: `xraytransfer predict` against a PyTorch script.

    python benchmarks/cold_start.py [FILM] [--model MODEL] [--runs 7]

The PyTorch script does the same work as people write it: import torch, timm and pydicom, read and window the film,
resize it, score it with the same member architectures (random weights of the same shapes: as fast as trained ones).
The two run in turn; medians and their ratio are printed, then where the time of ours goes.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TORCH_SCRIPT = Path(__file__).with_name("cold_start_torch.py")

STAGES = """
import time; t = [time.perf_counter()]
def lap(name):
    t.append(time.perf_counter()); print(f"  {name:<34}{1000 * (t[-1] - t[-2]):7.0f} ms")
import xraytransfer.cli.entry; lap("import the command line")
import numpy; lap("import numpy")
import onnxruntime; lap("import onnxruntime")
import xraytransfer.classifier; lap("import the classifier")
import xraytransfer.radiograph, xraytransfer.resize; lap("import the reader")
import sys
c = xraytransfer.classifier.load(sys.argv[2]); lap("load the model")
f = c.read(sys.argv[1]); lap("read the film")
c.predict(f); lap("resize and score")
"""


def seconds(command: list[str]) -> float:
    """Return the wall time of one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", nargs="?")
    parser.add_argument("--model", default="default")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    from xraytransfer.cli.film_list import sample_film
    from xraytransfer.model_file import describe

    film = options.film or sample_film()
    model = str(describe(options.model).path)
    ours = [sys.executable, "-m", "xraytransfer", "predict", film, "--model", model]
    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder) / "members.pt")
        subprocess.run([sys.executable, TORCH_SCRIPT, "--make", model, weights], check=True)
        theirs = [sys.executable, str(TORCH_SCRIPT), film, weights]
        seconds(ours), seconds(theirs)  # fill the file cache
        pairs = [(seconds(ours), seconds(theirs)) for _ in range(options.runs)]
    mine, other = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"{Path(film).name}, {options.runs} runs of each in turn, medians")
    print(f"xraytransfer predict   {mine:.2f} s")
    print(f"PyTorch script         {other:.2f} s")
    print(f"ratio                  {ratio:.1f}")
    print("where ours goes, one step after the other (the program overlaps loading and importing):")
    subprocess.run([sys.executable, "-c", STAGES, film, model], check=True)


if __name__ == "__main__":
    main()
