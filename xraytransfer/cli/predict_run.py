"""One run of ``xraytransfer predict``: films are drawn, scored, written and counted."""

from __future__ import annotations

import itertools
import os
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import click

from xraytransfer.cli.film_list import STDIN, films, is_no_film
from xraytransfer.cli.film_outputs import FilmOutputs
from xraytransfer.cli.film_version import FilmVersion, film_version
from xraytransfer.constants import RESEARCH_NOTICE
from xraytransfer.errors import OVERRULED_BY, OutputError

if TYPE_CHECKING:
    from xraytransfer.classifier import Classifier
    from xraytransfer.cli.parquet_results import ParquetResults
    from xraytransfer.cli.results_file import ResultsFile
    from xraytransfer.prediction import Prediction, Refusal

__all__ = ["run"]


def run(
    paths: Sequence[str],
    outputs: FilmOutputs,
    *,
    model: str,
    device: str,
    threads: int | None,
    batch_size: int | None,
    form: str,
    output: Path | None,
    resume: bool,
    overwrite: bool,
    any_modality: bool,
    any_film: bool,
    unintended_films: str,
    decode: str,
    dicomweb: str | None,
    study_uid: str | None,
    dicomweb_token: str | None,
) -> int:
    """Score films and return the exit code; the parameters are the command's options.

    Raises
    ------
    XrayTransferError
        Nothing could run: no such model or device, or the results cannot be written.
    """
    from xraytransfer.cli.parquet_results import open_results

    classifier = _load_beside_the_reader(model, device, threads, unintended_films)
    written = [path for path in (output, *outputs.folders) if path is not None]
    sources: Iterable[str | BinaryIO] = films(paths, without=written)
    if dicomweb is not None and study_uid is not None:
        from xraytransfer.serve.dicom.dicomweb import films_of_examination

        sources = itertools.chain(sources, films_of_examination(dicomweb, study_uid, dicomweb_token))
    overruled = _overruled(any_modality=any_modality, any_film=any_film, unintended_films=unintended_films == "note")
    with open_results(output, form, resume, overwrite, overruled) as results:
        _check_model(classifier, results)
        _name_empty_folders(outputs, results)
        drawn: deque[_DrawnFilm] = deque()  # films read ahead of their results, in order
        outcomes = classifier.predict_many(
            _draw(sources, results, drawn),
            batch_size=batch_size,
            any_modality=any_modality,
            any_film=any_film,
            decode=decode,
            keep_pixels=outputs.need_pixels,
        )
        outcomes = _with_progress(outcomes, paths, written, len(results.done))
        counts = _write_all(outcomes, drawn, results, outputs, frozenset(paths))
        if counts.scored:
            results.note(_footer(classifier))
        if nothing := counts.scored + counts.refused + len(results.done) == 0:
            results.discard()
    _print_counts(counts, None if nothing else output, results)
    if nothing:
        found = f"{', '.join(paths)}: no DICOM, PNG or JPEG film in it, nor in the folders below"
        raise OutputError(found if paths else "no films to score")
    return 1 if counts.refused or results.refused_before or counts.without_dicom else 0


def _overruled(**given: bool) -> set[str]:
    """Return the reasons of refusals that the given options overrule."""
    return {reason for reason, argument in OVERRULED_BY.items() if given[argument]}


def _print_counts(counts: _Counts, output: Path | None, results: ResultsFile | ParquetResults) -> None:
    """Print on standard error how many films were scored and refused, and what was passed over."""
    line = f"{counts.scored} scored, {counts.refused} refused"
    if output is not None:
        click.echo(f"{output}: {line}{_before(results)}", err=True)
    elif counts.scored + counts.refused > 1:
        click.echo(line, err=True)
    if counts.no_films:
        kinds = [
            f"{number} {_NO_FILMS[reason]} ({counts.names(reason)})"
            for reason, number in sorted(counts.no_films.items())
        ]
        click.echo(f"passed over: {', '.join(kinds)}", err=True)


_NAMES_SHOWN = 3
"""How many files that were passed over are named for each reason: an archive may hold thousands of CT slices."""

_NO_FILMS = {
    "unsupported-format": "of another format",
    "not-a-radiograph": "no chest radiograph by the header",
    "multi-frame": "of several frames",
}


class _DrawnFilm(NamedTuple):
    """A film on its way, and the version of its file before it was read."""

    film: str | BinaryIO
    version: FilmVersion | None


@dataclass
class _Counts:
    """How many films were scored, were refused, got no DICOM result; and how many files were no films, by reason."""

    scored: int = 0
    refused: int = 0
    without_dicom: int = 0
    no_films: Counter[str] = field(default_factory=Counter)
    first_names: dict[str, list[str]] = field(default_factory=dict)

    def pass_over(self, refusal: Refusal) -> None:
        """Count a file that is no film, and remember its name if it is one of the first."""
        self.no_films[refusal.reason] += 1
        names = self.first_names.setdefault(refusal.reason, [])
        if len(names) < _NAMES_SHOWN:
            from xraytransfer.cli.result_forms import printable

            names.append(printable(refusal.source))

    def names(self, reason: str) -> str:
        """Return the first names of files that were passed over for a reason, in words."""
        more = ["..."] if self.no_films[reason] > _NAMES_SHOWN else []
        return ", ".join([*self.first_names[reason], *more])


def _write_all(
    outcomes: Iterable[Prediction | Refusal],
    drawn: deque[_DrawnFilm],
    results: ResultsFile | ParquetResults,
    outputs: FilmOutputs,
    named: frozenset[str],
) -> _Counts:
    """Write results as they come; `named` are the paths on the command line, which are never passed over."""
    from xraytransfer.prediction import Refusal

    counts = _Counts()
    for outcome in outcomes:
        film, version = drawn.popleft()
        if isinstance(outcome, Refusal):
            if is_no_film(outcome, film, named):
                counts.pass_over(outcome)
                continue
            counts.refused += 1
            _print_refusal(outcome)
        else:
            counts.scored += 1
            counts.without_dicom += not outputs.write(outcome, film)
        # last, because --resume skips a film that stands in the file: all else of it is written then
        results.write(outcome, version)
    return counts


def _check_model(classifier: Classifier, results: ResultsFile | ParquetResults) -> None:
    """Refuse to go on with a file of another model's results: nobody would see it in the numbers."""
    others = [name for sha256, name in results.models_before.items() if sha256 != classifier.description.sha256]
    if others:
        raise OutputError(
            f"{results.path}: holds results of {others[0]}, another model than {classifier.description.name} "
            f"{classifier.description.version} ({classifier.description.sha256[:12]}); "
            "name that one with --model, or another file with -o"
        )


def _name_empty_folders(outputs: FilmOutputs, results: ResultsFile | ParquetResults) -> None:
    """Say where films that were scored before have no overlays or DICOM results: they are passed over, and get none."""
    for folder in outputs.folders if results.models_before else ():
        if folder is not None and not (folder.is_dir() and any(folder.iterdir())):
            click.echo(
                f"{folder}: is empty, and gets nothing of the films that {results.path} lists already; to have it, "
                "score them into another file with -o",
                err=True,
            )


def _before(results: ResultsFile | ParquetResults) -> str:
    """Say what stood in the file; refused films there count for the exit code too."""
    refused = f", {results.refused_before} of them refused" if results.refused_before else ""
    return f", {len(results.done)} there before{refused}" if results.done else ""


def _draw(
    sources: Iterable[str | BinaryIO], results: ResultsFile | ParquetResults, drawn: deque[_DrawnFilm]
) -> Iterator[str | BinaryIO]:
    """Yield the films to score, in order, and remember each until its result is there."""
    for film in sources:
        if not results.holds(film if isinstance(film, str) else str(film.name)):
            drawn.append(_DrawnFilm(film, film_version(film) if isinstance(film, str) else None))
            yield film


def _load_beside_the_reader(model: str, device: str, threads: int | None, unintended_films: str) -> Classifier:
    """Load the model in one thread while this one imports the reader: each takes about as long."""
    from xraytransfer.classifier import load

    pool = ThreadPoolExecutor(1)
    loading = pool.submit(load, model, device=device, threads=threads, unintended_films=unintended_films)
    pool.shutdown(wait=False)
    try:
        import xraytransfer.radiograph
        import xraytransfer.resize  # noqa: F401

        return loading.result()
    finally:
        wait([loading])  # and not Thread.join: see `xraytransfer.ordered_threads` on a second Ctrl-C


def _with_progress(
    outcomes: Iterator[Prediction | Refusal], paths: Sequence[str], without: Sequence[Path], done: int
) -> Iterator[Prediction | Refusal]:
    """Show a progress bar on a terminal; elsewhere pass results through."""
    if not sys.stderr.isatty() or (len(paths) == 1 and not os.path.isdir(paths[0])):
        yield from outcomes
        return
    named = [path for path in paths if path != STDIN]
    total = sum(1 for _ in films(named, without=without)) + len(paths) - len(named) - done
    with click.progressbar(outcomes, length=max(total, 0), label="scoring", file=sys.stderr) as bar:
        yield from bar


_OPTIONS = {
    "any_modality": "--any-modality",
    "any_film": "--any-film",
    "unintended_films": "--unintended-films note",
}

_CURED_BY_HAND = ("sideways", "upside-down", "inverted")


def _print_refusal(refusal: Refusal) -> None:
    from xraytransfer.cli.result_forms import printable

    message = " ".join(refusal.message.split())
    if refusal.reason in _CURED_BY_HAND:
        message += ". The page of `xraytransfer serve` has buttons that turn and invert a film"
    if refusal.reason in OVERRULED_BY:
        message += f". To score it anyway: {_OPTIONS[OVERRULED_BY[refusal.reason]]}"
    prefix = "" if refusal.source in refusal.message else f"{refusal.source}: "
    click.echo(f"refused ({refusal.reason}): {printable(prefix + message)}", err=True)


def _footer(classifier: Classifier) -> str:
    model = classifier.description
    near = ", ~ near it" if any(width is not None for width in model.flip_widths()) else ""
    return (
        f"\n* at or above the threshold{near}. Model {model.name} {model.version} ({model.sha256[:12]}) "
        f"on {classifier.provider}.\n{RESEARCH_NOTICE}"
    )
