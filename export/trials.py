"""What a finished graph is tried on, and what that adds to its description: other forms of films, strangers, judges."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.classifier import Classifier
from xraytransfer.export.checks.flip_widths import FILMS, SmallChanges, measure_small_changes, with_flip_widths
from xraytransfer.export.checks.predictions_file import write_external_predictions, write_test_predictions
from xraytransfer.export.checks.robustness import VARIANTS, measure_robustness
from xraytransfer.export.corrected_labels import CorrectedTest, Correction, read_correction
from xraytransfer.export.description import Measurements
from xraytransfer.export.external import ExternalResult, read_test_sets, score_strangers
from xraytransfer.export.members import Ensemble
from xraytransfer.export.options import ExportOptions
from xraytransfer.study.data.external_test_set import ExternalTestSet
from xraytransfer.study.data.run_data import RunData
from xraytransfer.study.finished_runs.known_films import known_films

__all__ = ["Trials", "TrialsPlan", "spread"]

Log = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Trials:
    """What a finished graph was tried on; None and empty for what the options did not ask for.

    Attributes
    ----------
    robustness : list of dict or None
        From `measure_robustness`.
    changes : SmallChanges or None
        From `measure_small_changes`.
    external : sequence of ExternalResult
        One for each external test set.
    corrected : CorrectedTest or None
        The test films with corrected labels.
    """

    robustness: list[dict[str, Any]] | None
    changes: SmallChanges | None
    external: Sequence[ExternalResult]
    corrected: CorrectedTest | None

    def add_to(self, document: dict[str, Any]) -> None:
        """Write what was found into a description."""
        if self.robustness is not None:
            document["robustness"] = self.robustness
        if self.corrected is not None:
            document["metrics"] += self.corrected.rows
            document["notes"] += [self.corrected.note]
        if self.external:
            document["external"] = [result.document for result in self.external]
        if self.changes is not None:
            names = [row["identifier"] for row in document["observations"]]
            document["operating_points"] = with_flip_widths(document["operating_points"], self.changes, names)

    def write_predictions(self, out: Path, measurements: Measurements) -> None:
        """Write the probabilities of all test films beside a model file.

        Raises
        ------
        ExportError
            They cannot be written.
        """
        calibrated = measurements.calibration.apply(measurements.test.ensemble())
        label = None if self.corrected is None else self.corrected.label
        write_test_predictions(out, measurements.test, calibrated, label)
        for result in self.external:
            write_external_predictions(out, result.document["name"], result.images, result.probability)


@dataclass(frozen=True, eq=False)
class TrialsPlan:
    """What a graph is to be tried on, read before any work is done.

    Attributes
    ----------
    options : ExportOptions
        The options of the export.
    sets : list of ExternalTestSet
        The external test sets.
    correction : Correction or None
        Labels that correct those of the test films.
    """

    options: ExportOptions
    sets: list[ExternalTestSet]
    correction: Correction | None

    @classmethod
    def read(cls, options: ExportOptions) -> TrialsPlan:
        """Read what the options name.

        Raises
        ------
        ExportError
            Two test sets have the same name.
        StudyError
            A file cannot be read.
        """
        return cls(options, read_test_sets(options.external), read_correction(options.correct))

    def run(
        self, file: Callable[[], bytes], ensemble: Ensemble, measurements: Measurements, data: RunData, log: Log
    ) -> Trials:
        """Try a graph out.

        Parameters
        ----------
        file : callable
            Returns the model file as users will have it; not called where no film is to be scored.
        ensemble : Ensemble
            Its members.
        measurements : Measurements
            What was measured before.
        data : RunData
            The films of the runs.
        log : callable
            Takes each line for the user.
        """
        corrected = None
        if self.correction is not None:
            calibrated = measurements.calibration.apply(measurements.test.ensemble())
            corrected = self.correction.apply(ensemble.runs[0], measurements.test, calibrated)
            log(corrected.note)
        if not self.options.robustness and not self.sets:
            return Trials(None, None, (), corrected)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(file())
            classifier = Classifier(path, device=self.options.device)
        external = []
        if self.sets:
            known = known_films(ensemble.config, self.options.folder)
            external = [score_strangers(classifier, films, known, data, log) for films in self.sets]
        robustness, changes = self._robustness(classifier, measurements, data, log)
        return Trials(robustness, changes, external, corrected)

    def _robustness(
        self, classifier: Classifier, measurements: Measurements, data: RunData, log: Log
    ) -> tuple[list[dict[str, Any]] | None, SmallChanges | None]:
        """Score the test films in every variant, and validation films in small changes; None where not asked for."""
        if not self.options.robustness:
            return None, None
        test = [data.table.path[row] for row in data.rows["test"]]
        rows = measure_robustness(classifier, test, measurements.test, log=log, variants=VARIANTS)
        return rows, measure_small_changes(classifier, spread(data.table.path, data.rows["validation"], FILMS))


def spread(paths: Sequence[Path], rows: NDArray[np.intp], count: int) -> list[Path]:
    """Return the paths of at most `count` of some rows, evenly spread."""
    return [paths[row] for row in rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]]
