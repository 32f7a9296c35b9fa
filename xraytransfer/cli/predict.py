"""``xraytransfer predict``: films in, a table or file of results out."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from xraytransfer.constants import DEVICES, FORMATS, RESEARCH_NOTICE, RESUMABLE
from xraytransfer.errors import OutputError, ServeError
from xraytransfer.observations import OBSERVATIONS

if TYPE_CHECKING:
    from xraytransfer.classifier import Classifier
    from xraytransfer.cli.results_file import ResultsFile
    from xraytransfer.prediction import Prediction, Refusal

__all__ = ["Job", "predict", "run"]

_FOLDER = click.Path(path_type=Path, file_okay=False)
# file systems allow names of 255 bytes; what is added to a stem needs up to 50
_LONGEST_STEM = 180
IDENTIFIERS = [observation.identifier for observation in OBSERVATIONS]


@dataclass(frozen=True)
class Job:
    """What one call of ``predict`` was asked to do; the command's options by the same names."""

    paths: tuple[str, ...]
    model: str
    device: str
    threads: int | None
    batch_size: int | None
    form: str
    output: Path | None
    resume: bool
    overwrite: bool
    overlay: Path | None
    observations: tuple[str, ...]
    any_modality: bool
    any_film: bool = False
    sr: Path | None = None
    sc: Path | None = None
    dicomweb: str | None = None
    study_uid: str | None = None
    dicomweb_token: str | None = None


@click.command(epilog="Exit code: 0 all scored, 1 some refused, 2 wrong usage, 3 nothing could run, 130 interrupted.")
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option("--sample", is_flag=True, help="Score the real film that the extra `sample` installs.")
@click.option("--model", default="default", show_default=True, help="Model file, or the name of a shipped model.")
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="Where to score.")
@click.option("--threads", type=click.IntRange(1), help="Threads on the CPU. Default: the cores we may use.")
@click.option("--batch-size", type=click.IntRange(1), help="Films scored together. Default: 1 on the CPU, 16 on a GPU.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Form of the results. Default: what the output file's name ends in, else a table.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write results here as they come."
)
@click.option("--resume", is_flag=True, help="Skip the films that the output file (jsonl or csv) already holds.")
@click.option("--overwrite", is_flag=True, help="Replace the output file if it exists.")
@click.option(
    "--overlay",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write film plus activation map as PNG into this folder.",
)
@click.option(
    "--observation",
    "observations",
    multiple=True,
    type=click.Choice(IDENTIFIERS),
    help="Overlay for this observation; may be repeated. Default: all six.",
)
@click.option("--any-modality", is_flag=True, help="Score films whose header says they are no chest radiograph.")
@click.option("--any-film", is_flag=True, help="Score films that the model itself judges unfit.")
@click.option("--sr", type=_FOLDER, help="Write a DICOM structured report of each film into this folder.")
@click.option("--sc", type=_FOLDER, help="Write a DICOM secondary capture of each film into this folder.")
@click.option("--dicomweb", metavar="URL", help="Also score an examination of this DICOMweb service.")
@click.option("--study-uid", help="Study Instance UID of that examination.")
@click.option("--dicomweb-token", envvar="XRAYTRANSFER_DICOMWEB_TOKEN", help="Bearer token of that service.")
def predict(paths: tuple[str, ...], sample: bool, **options: Any) -> None:
    """Score radiographs: six probabilities for each film.

    PATH is a DICOM, PNG or JPEG file, a folder (with everything below it), or - for one film on
    standard input. One line on standard error for each film that is refused.
    """
    options["form"] = options["form"] or _form_of(options["output"])
    _check_usage(bool(paths or sample), options)
    if sample:
        from xraytransfer.cli.film_list import sample_film

        paths = (*paths, sample_film())
    click.get_current_context().exit(run(Job(paths=paths, **options)))


def _check_usage(has_paths: bool, options: dict[str, Any]) -> None:
    """Refuse options that contradict each other or lack what they need."""
    if not (has_paths or options["dicomweb"]):
        raise click.UsageError("name at least one PATH, or use --sample")
    if (options["dicomweb"] is None) != (options["study_uid"] is None):
        raise click.UsageError("--dicomweb and --study-uid go together")
    if options["observations"] and options["overlay"] is None:
        raise click.UsageError("--observation chooses overlays: it goes with --overlay")
    if options["resume"] and options["overwrite"]:
        raise click.UsageError("--resume continues the output file, --overwrite replaces it: choose one")
    if options["resume"] and (options["output"] is None or options["form"] not in RESUMABLE):
        raise click.UsageError(f"--resume needs -o FILE and --format {' or '.join(RESUMABLE)}")


def _form_of(output: Path | None) -> str:
    """Return the form that an output file's name asks for; a table for plain text."""
    suffix = "" if output is None else output.suffix.lower().removeprefix(".")
    if suffix in ("", "txt"):
        return "table"
    if suffix not in FORMATS:
        raise click.UsageError(f"-o {output}: no form is called {suffix}; --format says which: {', '.join(FORMATS)}")
    return suffix


def run(job: Job) -> int:
    """Score a job's films and return the exit code.

    Raises
    ------
    XrayTransferError
        Nothing could run: no such model or device, or the results cannot be written.
    """
    from xraytransfer.cli.results_file import ResultsFile
    from xraytransfer.prediction import Refusal

    classifier = _load_beside_the_reader(job)
    scored = refused = without_dicom = 0
    with ResultsFile(job.output, job.form, resume=job.resume, overwrite=job.overwrite) as results:
        _check_model(classifier, results)
        drawn: deque[str | BinaryIO] = deque()  # films read ahead of their results, in order
        keep_pixels = job.overlay is not None or job.sc is not None
        outcomes = classifier.predict_many(
            _draw(job, results, drawn),
            batch_size=job.batch_size,
            any_modality=job.any_modality,
            any_film=job.any_film,
            keep_pixels=keep_pixels,
        )
        for outcome in _with_progress(outcomes, job, len(results.done)):
            film = drawn.popleft()
            if isinstance(outcome, Refusal):
                refused += 1
                _say_refused(outcome)
            else:
                scored += 1
                _write_overlays(outcome, job)
                without_dicom += not _write_dicom(outcome, film, job)
            # last, because --resume skips a film that stands in the file: all else of it is written then
            results.write(outcome)
        if scored:
            results.note(_footer(classifier))
        refused_before = results.refused_before
    if job.output is not None:
        click.echo(f"{job.output}: {scored} scored, {refused} refused{_before(results)}", err=True)
    elif scored + refused > 1:
        click.echo(f"{scored} scored, {refused} refused", err=True)
    if scored + refused + len(results.done) == 0:
        raise OutputError(f"no films below {', '.join(job.paths)}" if job.paths else "no films to score")
    return 1 if refused or refused_before or without_dicom else 0


def _check_model(classifier: Classifier, results: ResultsFile) -> None:
    """Refuse to go on with a file of another model's results: nobody would see it in the numbers."""
    others = [name for sha256, name in results.models_before.items() if sha256 != classifier.description.sha256]
    if others:
        raise OutputError(
            f"{results.path}: holds results of {others[0]}, another model than {classifier.description.name} "
            f"{classifier.description.version}; name that one with --model, or another file with -o"
        )


def _before(results: ResultsFile) -> str:
    """Say what stood in the file; refused films there count for the exit code too."""
    refused = f", {results.refused_before} of them refused" if results.refused_before else ""
    return f", {len(results.done)} there before{refused}" if results.done else ""


def _films(job: Job, paths: Iterable[str]) -> Iterator[str | BinaryIO]:
    """Yield the films below `paths`, but nothing that this job itself writes."""
    from xraytransfer.cli.film_list import films

    return films(paths, without=[path for path in (job.output, job.overlay, job.sr, job.sc) if path is not None])


def _draw(job: Job, results: ResultsFile, drawn: deque[str | BinaryIO]) -> Iterator[str | BinaryIO]:
    """Yield the films to score, in order, and remember each until its result is there."""
    sources = _films(job, job.paths)
    if job.dicomweb is not None and job.study_uid is not None:
        from xraytransfer.serve.dicom.dicomweb import films_of_examination

        sources = itertools.chain(sources, films_of_examination(job.dicomweb, job.study_uid, job.dicomweb_token))
    for film in sources:
        if not results.holds(film if isinstance(film, str) else str(film.name)):
            drawn.append(film)
            yield film


def _write_dicom(outcome: Prediction, film: str | BinaryIO, job: Job) -> bool:
    """Write the results that a PACS reads, where they were asked for; False, and said, where the film allows none."""
    if job.sr is None and job.sc is None:
        return True
    from xraytransfer.serve.dicom_results.results import ResultFolders, write_results

    problem = "a picture, which belongs to no examination"
    if outcome.radiograph["format"] == "dicom":
        try:
            write_results(outcome, film, ResultFolders(job.sr, job.sc))
            return True
        except ServeError as error:
            problem = str(error)
    click.echo(f"no DICOM result: {outcome.source}: {problem}", err=True)
    return False


def _load_beside_the_reader(job: Job) -> Classifier:
    """Load the model in one thread while this one imports the reader: each takes about as long."""
    from xraytransfer.classifier import load

    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load, job.model, device=job.device, threads=job.threads)
        import xraytransfer.radiograph
        import xraytransfer.resize  # noqa: F401

        return loading.result()


def _with_progress(outcomes: Iterator[Prediction | Refusal], job: Job, done: int) -> Iterator[Prediction | Refusal]:
    """Show a progress bar on a terminal; elsewhere pass results through."""
    if not sys.stderr.isatty() or (len(job.paths) == 1 and not os.path.isdir(job.paths[0])):
        yield from outcomes
        return
    named = [path for path in job.paths if path != "-"]
    total = sum(1 for _ in _films(job, named)) + len(job.paths) - len(named) - done
    with click.progressbar(outcomes, length=max(total, 0), label="scoring", file=sys.stderr) as bar:
        yield from bar


def _say_refused(refusal: Refusal) -> None:
    message = " ".join(refusal.message.split())
    prefix = "" if refusal.source in message else f"{refusal.source}: "
    click.echo(f"refused ({refusal.reason}): {prefix}{message}", err=True)


def _footer(classifier: Classifier) -> str:
    model = classifier.description
    return (
        f"\n* at or above the threshold. Model {model.name} {model.version} ({model.sha256[:12]}) "
        f"on {classifier.provider}.\n{RESEARCH_NOTICE}"
    )


def _caption(outcome: Prediction, i: int) -> list[str]:
    """Return what an overlay shows: observation, probability, threshold, model, and what it is not."""
    threshold = outcome.thresholds[i]
    limit = "" if threshold is None else f" (threshold {threshold:.3f})"
    return [
        f"{OBSERVATIONS[i].name}: probability {outcome.probability[i]:.3f}{limit}",
        f"Model {outcome.model.name} {outcome.model.version}. Colour: where evidence lies, no outline of a finding.",
        RESEARCH_NOTICE,
    ]


def _write_overlays(outcome: Prediction, job: Job) -> None:
    """Write one PNG per observation asked for, named so that films of one name in two folders keep apart."""
    if job.overlay is None or outcome.pixels is None:
        return
    from xraytransfer.overlay import captioned, overlay

    mark = hashlib.sha256(os.path.abspath(outcome.source).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    stem = Path(outcome.source).stem.strip("<>") or "film"
    while len(os.fsencode(stem)) > _LONGEST_STEM:
        stem = stem[:-1]
    part = job.overlay / f".{stem}-{mark}.{os.getpid()}.part"
    try:
        job.overlay.mkdir(parents=True, exist_ok=True)
        for identifier in job.observations or IDENTIFIERS:
            i = IDENTIFIERS.index(identifier)
            scale = float(outcome.activation_map.max())  # one scale for all six: weak evidence looks weak
            picture = overlay(outcome.pixels, outcome.activation_map[i], full_scale=scale)
            captioned(picture, _caption(outcome, i)).save(part, format="PNG")
            part.replace(job.overlay / f"{stem}-{mark}.{identifier}.png")
    except OSError as error:
        raise OutputError(f"{job.overlay}: an overlay cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # there only after a full disk or Ctrl-C
            part.unlink()
