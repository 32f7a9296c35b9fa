"""The classifier scores radiographs, one at a time or any number of them.

The file is longer than others because it is one class, and each of its public methods documents its parameters.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xraytransfer import model_file, runtime
from xraytransfer.constants import DECODING, UNINTENDED_FILMS
from xraytransfer.errors import DeviceError, RadiographError
from xraytransfer.execution_providers import CPU, USUAL_BATCH, gpu_batches
from xraytransfer.ordered_threads import in_order
from xraytransfer.prediction import ModelIdentity, Prediction, Refusal
from xraytransfer.quality_gate import CURES, MIRRORED_NOTE, QualityGateResult, find_all_faults
from xraytransfer.reading.patient import ANIMAL, UNDER_18
from xraytransfer.usable_cores import cpu_limit

if TYPE_CHECKING:  # the reader is loaded beside the model, not before it
    from pydicom import Dataset

    from xraytransfer.radiograph import Radiograph

    Source: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | Dataset | Radiograph

__all__ = ["Classifier", "load"]


def load(
    model: str | os.PathLike[str] = "default",
    *,
    device: str = "auto",
    threads: int | None = None,
    unintended_films: str = "note",
) -> Classifier:
    """Load a model.

    Parameters
    ----------
    model : path-like
        A model file, or the name of a shipped model.
    device : {'auto', 'cuda', 'tensorrt', 'cpu'}
        Where to score; ``auto`` takes CUDA if a session really runs on it, else the CPU.
    threads : int, optional
        Threads on the CPU; the cores that this process may use where absent.
    unintended_films : {'note', 'refuse'}
        What to do with films whose header says that the patient is under 18 or an animal: score them with a note in
        every form of the result, or refuse them (``unintended-film``).

    Returns
    -------
    Classifier

    Raises
    ------
    ModelFileError
        No such file, not ours, damaged, or newer than this version reads.
    DeviceError
        The device asked for does not run here, or `threads` is below 1.
    ValueError
        `unintended_films` is another word.
    """
    return Classifier(model, device=device, threads=threads, unintended_films=unintended_films)


class Classifier:
    """One model, ready to score; safe to use from many threads.

    Parameters
    ----------
    model : path-like
        As for `load`.
    device : {'auto', 'cuda', 'tensorrt', 'cpu'}
        As for `load`.
    threads : int, optional
        As for `load`.
    unintended_films : {'note', 'refuse'}
        As for `load`.

    Attributes
    ----------
    description : ModelDescription
        The model file's description.
    provider : str
        The execution provider that runs, such as ``CPUExecutionProvider``.

    Raises
    ------
    ModelFileError, DeviceError, ValueError
        As for `load`.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "default",
        *,
        device: str = "auto",
        threads: int | None = None,
        unintended_films: str = "note",
    ) -> None:
        if unintended_films not in UNINTENDED_FILMS:
            raise ValueError(f"unintended_films is {unintended_films!r}; expected {' or '.join(UNINTENDED_FILMS)}")
        self._unintended_films = unintended_films
        if threads is not None and threads < 1:
            raise DeviceError(f"threads is {threads}, expected at least 1")
        self.description, data = model_file.read(model, verify=True)
        self._threads = threads or cpu_limit()
        sizes = runtime.film_sizes(self.description)
        self._session, self.provider = runtime.open_session(data, device, self._threads, sizes=sizes)
        self._data: bytes | None = data if self.provider == CPU and self._threads > 1 else None
        self._narrow_session = self._session if self._threads == 1 else None
        self._lock = Lock()
        self._quality_gate = self.description.quality_gate
        self._calibration = self.description.calibration
        self._thresholds = tuple(self.description.thresholds())
        self._flip_widths = tuple(self.description.flip_widths())
        self._identity = ModelIdentity(self.description.name, self.description.version, self.description.sha256)
        runtime.check_outputs(self._session, self.description)
        if self.provider != CPU:  # where kernels and their precision are the provider's own
            self.self_test()

    def self_test(self) -> float | None:
        """Score the model file's made picture, and compare with the probabilities that the file states for it.

        Returns
        -------
        float or None
            The largest difference, within the file's tolerance; None where the file has no self-test, as those of
            version 0.1.

        Raises
        ------
        DeviceError
            This runtime computes something else.
        """
        test = self.description.self_test
        return None if test is None else test.require(self._session, f"{self.description.path} on {self.provider}")

    def read(self, source: Source, *, any_modality: bool = False, decode: str = "full", threads: int = 1) -> Radiograph:
        """Read a radiograph with the intensity recipe that the model was trained with.

        Parameters
        ----------
        source
            What `xraytransfer.read_radiograph` takes; a `Radiograph` is returned as it is.
        any_modality : bool
            Read films that the header says are no chest radiographs.
        decode : {'full', 'reduced'}
            Whether compressed films may be decoded at the lowest resolution that is at least twice the model's.
        threads : int
            Threads that may decode one film.

        Returns
        -------
        Radiograph
            The film's grey levels and what was done to them, as `predict` takes it.

        Raises
        ------
        RadiographError
            The film is refused, or is a `Radiograph` that was read with another intensity recipe.
        TypeError
            `source` is nothing that can be read.
        ValueError
            `decode` is another word.
        """
        from xraytransfer.radiograph import Radiograph, read_radiograph

        if decode not in DECODING:
            raise ValueError(f"decode is {decode!r}; expected {' or '.join(DECODING)}")
        if not isinstance(source, Radiograph):
            source = read_radiograph(
                source,
                intensity=self.description.intensity,
                any_modality=any_modality,
                reduced_to=min(self.description.resolution) if decode == "reduced" else None,
                threads=threads,
            )
        self.check_intended(source)
        if source.intensity != self.description.intensity:
            raise RadiographError(
                "invalid-attribute",
                f"{source.source}: read with intensity recipe {source.intensity!r}, the model "
                f"{self.description.name} expects {self.description.intensity!r}: read it with Classifier.read",
            )
        return source

    def check_intended(self, film: Radiograph) -> None:
        """Refuse a film whose patient models are not meant for, where `unintended_films` asks for that.

        Raises
        ------
        RadiographError
            ``unintended-film``.
        """
        found = [note for note in film.notes if note in (UNDER_18, ANIMAL)]
        if found and self._unintended_films == "refuse":
            raise RadiographError(
                "unintended-film",
                f"{film.source}: {'; '.join(found)}",
                radiograph=film.provenance(),
            )

    def predict(
        self,
        source: Source,
        *,
        any_modality: bool = False,
        any_film: bool = False,
        keep_pixels: bool = False,
        decode: str = "full",
    ) -> Prediction:
        """Score one radiograph.

        Parameters
        ----------
        source : path-like, bytes, binary file, pydicom Dataset or Radiograph
            The film: DICOM, PNG or JPEG, or one that was read before.
        any_modality : bool
            Score films that the header says are no chest radiographs.
        any_film : bool
            Score films that the model's quality gate refuses; `Prediction.acceptance` still says so.
        keep_pixels : bool
            Keep the film's pixels in `Prediction.pixels`, for an overlay: they have full resolution.
        decode : {'full', 'reduced'}
            As for `read`.

        Returns
        -------
        Prediction
            Probabilities, activation maps, and what was done to the film.

        Raises
        ------
        RadiographError
            The film is refused; ``.reason`` says why, for programs.
        DeviceError
            The device fails, as for want of memory, or an answer is NaN or infinite.
        ModelFileError
            The model file contradicts itself: its description states another calibration than its graph holds.
        TypeError, ValueError
            As for `read`.
        """
        decode = "full" if keep_pixels else decode
        film = self.read(source, any_modality=any_modality, decode=decode, threads=self._threads)
        prediction = self._score(self._session, [film], keep_pixels)[0]
        if (error := _refused(prediction, any_film)) is not None:
            raise error
        return prediction

    def predict_radiographs(self, radiographs: Sequence[Radiograph], *, keep_pixels: bool = False) -> list[Prediction]:
        """Score radiographs of any sizes as one batch; results in their order.

        Films that the model's quality gate refuses are scored too; `Prediction.acceptance` says so.

        Parameters
        ----------
        radiographs : sequence of Radiograph
            Films that were read with the model's intensity recipe, as by `read`; none gives an empty list.
        keep_pixels : bool
            Keep the films' pixels in `Prediction.pixels`, as they were read.

        Returns
        -------
        list of Prediction
            One for each film, in their order.

        Raises
        ------
        RadiographError, DeviceError, ModelFileError
            As for `predict`; a film that the quality gate refuses raises nothing.
        """
        films = [self.read(film) for film in radiographs]
        return self._score(self._session, films, keep_pixels) if films else []

    def predict_many(
        self,
        sources: Iterable[Source],
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        any_modality: bool = False,
        any_film: bool = False,
        keep_pixels: bool = False,
        decode: str = "full",
    ) -> Iterator[Prediction | Refusal]:
        """Score any number of radiographs, lazily, in order, in bounded memory.

        Parameters
        ----------
        sources : iterable
            What `predict` takes; drawn a little ahead of the results.
        batch_size : int, optional
            Radiographs scored together: 1 on the CPU, where films run side by side instead,
            16 on the GPU.
        workers : int, optional
            Threads that read films; the number of usable cores where absent. Where there are fewer films than
            threads, a film is decoded by several.
        any_modality : bool
            As for `predict`.
        any_film : bool
            As for `predict`.
        keep_pixels : bool
            As for `predict`.
        decode : {'full', 'reduced'}
            As for `predict`.

        Returns
        -------
        iterator of (Prediction or Refusal)
            One for each source, in their order; a refused film never stops the rest.

        Raises
        ------
        TypeError
            `sources` is one film and no iterable of films. While the results are drawn also for a source that is
            nothing that can be read.
        ValueError
            `decode` is another word, or `batch_size` or `workers` is below 1.
        DeviceError, ModelFileError
            As for `predict`, while the results are drawn.
        """
        if isinstance(sources, str | bytes | os.PathLike):
            raise TypeError(f"sources is one {type(sources).__name__}: pass a list of films, or call predict")
        if decode not in DECODING:
            raise ValueError(f"decode is {decode!r}; expected {' or '.join(DECODING)}")
        size = (1 if self.provider == CPU else USUAL_BATCH) if batch_size is None else batch_size
        workers = self._threads if workers is None else workers
        if size < 1 or workers < 1:
            raise ValueError("batch_size and workers must be at least 1")

        read = partial(self._read_or_refuse, any_modality=any_modality, decode="full" if keep_pixels else decode)
        outcomes = self._read_and_score(read, sources, workers, size, keep_pixels)
        return (_settle(outcome, any_film) for outcome in outcomes)

    def _read_and_score(
        self,
        read: Callable[..., Radiograph | Refusal],
        sources: Iterable[Source],
        workers: int,
        size: int,
        keep_pixels: bool,
    ) -> Iterator[Prediction | Refusal]:
        """Read films in threads, and score them side by side, or where that is slower in batches of `size`."""
        films, threads = _share_threads(sources, workers)
        read = partial(read, threads=threads)
        if self.provider != CPU or size > 1:
            yield from self._in_batches(in_order(read, films, workers, ahead=workers + size), size, keep_pixels)
            return
        narrow = self._session_for_one_thread()

        def read_and_score(source: Source) -> Prediction | Refusal:
            film = read(source)
            return film if isinstance(film, Refusal) else self._score(narrow, [film], keep_pixels)[0]

        yield from in_order(read_and_score, films, workers, ahead=workers + 2)

    def _in_batches(
        self, films: Iterator[Radiograph | Refusal], size: int, keep_pixels: bool
    ) -> Iterator[Prediction | Refusal]:
        """Score films `size` at a time; refusals keep their places."""
        waiting: list[Radiograph | Refusal] = []

        def flush() -> Iterator[Prediction | Refusal]:
            read = [film for film in waiting if not isinstance(film, Refusal)]
            scored = iter(self.predict_radiographs(read, keep_pixels=keep_pixels))
            for film in waiting:
                yield film if isinstance(film, Refusal) else next(scored)
            waiting.clear()

        for film in films:
            waiting.append(film)
            if sum(not isinstance(item, Refusal) for item in waiting) == size or len(waiting) == 4 * size:
                yield from flush()
        yield from flush()

    def _read_or_refuse(self, source: Source, any_modality: bool, decode: str, threads: int) -> Radiograph | Refusal:
        try:
            return self.read(source, any_modality=any_modality, decode=decode, threads=threads)
        except RadiographError as error:
            from xraytransfer.radiograph import Radiograph, source_name

            name = source.source if isinstance(source, Radiograph) else source_name(source)
            return Refusal.from_error(name, error)

    def _session_for_one_thread(self) -> Any:
        """Return a session of one thread a call: on the CPU it is faster to score several films side by side."""
        with self._lock:
            if self._narrow_session is None:
                if self._data is None:
                    return self._session
                self._narrow_session, _ = runtime.open_session(self._data, "cpu", 1)
            return self._narrow_session

    def _score(self, session: Any, films: Sequence[Radiograph], keep_pixels: bool) -> list[Prediction]:
        probability, raw_members, maps, *gate_outputs = self._run(session, self.description.outputs, films)
        self._check_numbers((probability, raw_members, maps), films)
        members = self._calibrated(raw_members, probability)
        accepted = [self._accept(session, film, [output[i] for output in gate_outputs]) for i, film in enumerate(films)]
        return [
            Prediction(
                source=film.source,
                probability=probability[i],
                member_probability=members[i],
                raw_member_probability=raw_members[i],
                activation_map=maps[i],
                thresholds=self._thresholds,
                operating_point=self.description.document.get("default_operating_point"),
                radiograph=self._record(film, accepted[i]),
                model=self._identity,
                provider=self.provider,
                pixels=film.pixels if keep_pixels else None,
                acceptance=accepted[i],
                flip_widths=self._flip_widths,
            )
            for i, film in enumerate(films)
        ]

    def _check_numbers(self, answers: Sequence[NDArray[np.float32]], films: Sequence[Radiograph]) -> None:
        """Refuse answers that are no numbers: no threshold is reached by NaN, so that it would pass for a no."""
        finite = [all(np.isfinite(answer[i]).all() for answer in answers) for i in range(len(films))]
        if not all(finite):
            raise DeviceError(
                f"{self.description.path} on {self.provider}: an answer for {films[finite.index(False)].source} is no "
                "finite number; try device cpu, or a file of another precision (float16 overflows), or export it again"
            )

    def _calibrated(self, members: NDArray[np.float32], probability: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the members on the scale of `probability`; refuse a description that its own graph contradicts."""
        if self._calibration is None:
            return members
        self._calibration.check(members, probability, str(self.description.path))
        return self._calibration.apply(members)

    def _run(self, session: Any, outputs: Sequence[str], films: Sequence[Radiograph]) -> list[Any]:
        """Return some outputs of the graph for a batch."""
        batch, names = self._batch(films), list(outputs)
        parts = [(batch, len(batch))] if self.provider == CPU else gpu_batches(batch)
        try:
            answers = [(session.run(names, {model_file.INPUT: part}), count) for part, count in parts]
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise DeviceError(
                f"scoring {len(films)} films together on {self.provider} failed: {str(error).strip()[:300]}; "
                "try a smaller batch, or device cpu"
            ) from error
        return [np.concatenate([answer[i][:count] for answer, count in answers]) for i in range(len(names))]

    def _record(self, film: Radiograph, acceptance: QualityGateResult | None) -> dict[str, Any]:
        """Return what a prediction says of a film; one smaller than the model's input, or mirrored, is noted."""
        record = film.provenance()
        rows, columns = film.pixels.shape
        notes = list(film.notes)
        if min(rows, columns) * film.reduction < min(self.description.resolution):
            notes.append(f"the film is smaller than the model's input: enlarged from {columns} x {rows} pixels")
        if acceptance is not None and acceptance.mirrored:
            notes.append(MIRRORED_NOTE)
        return {**record, "notes": notes}

    def _accept(self, session: Any, film: Radiograph, gate_outputs: list[Any]) -> QualityGateResult | None:
        """Return what the quality gate finds; None where the model has none. All faults of a film are named at once."""
        gate = self._quality_gate
        if gate is None:
            return None
        result = gate.evaluate(gate_outputs[0], *(float(number) for number in gate_outputs[1:]))
        if result.accepted or result.kind not in CURES:
            return result

        def evaluate(pixels: NDArray[np.uint8]) -> QualityGateResult:
            kinds, *numbers = self._run(session, gate.outputs, [replace(film, pixels=pixels)])
            return gate.evaluate(kinds[0], *(float(number[0]) for number in numbers))

        return find_all_faults(result, film.pixels, evaluate)

    def _batch(self, films: Sequence[Radiograph]) -> NDArray[np.uint8 | np.float32]:
        """Return (films, 1, rows, columns) at the model's resolution, of the type that the graph takes.

        The graph of an input of any size resizes too, with the same result. Films are resized here so that films of
        different sizes can share a batch.
        """
        from xraytransfer.resize import resize

        pixels = np.stack([resize(film.pixels, self.description.resolution) for film in films])[:, None]
        return pixels.astype(self.description.document["input"].get("type", "uint8"), copy=False)


def _share_threads(sources: Iterable[Source], workers: int) -> tuple[Iterator[Source], int]:
    """Return the films, and how many threads may decode each: more than one where fewer films than threads come."""
    films = iter(sources)
    first = list(islice(films, workers))
    return chain(first, films), workers // max(len(first), 1)


def _refused(prediction: Prediction, any_film: bool) -> RadiographError | None:
    """Return the error for a film that the quality gate refuses; None where its prediction is given."""
    if any_film or prediction.acceptance is None:
        return None
    error = prediction.acceptance.refusal(prediction.source)
    if error is not None:
        error.radiograph = prediction.radiograph
    return error


def _settle(outcome: Prediction | Refusal, any_film: bool) -> Prediction | Refusal:
    """Return a film's result in a batch: a refusal where the model's quality gate refuses it."""
    if isinstance(outcome, Refusal) or (error := _refused(outcome, any_film)) is None:
        return outcome
    return Refusal.from_error(outcome.source, error)
