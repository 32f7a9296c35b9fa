"""Which of a run's checkpoints become members: all, the best ones, or those of named steps."""

from __future__ import annotations

from dataclasses import replace

from xraytransfer.errors import ExportError
from xraytransfer.study.training.run_folder import Run

__all__ = ["choose_checkpoints"]


def choose_checkpoints(run: Run, checkpoints: str, fuse: str) -> Run:
    """Return the run with the chosen checkpoints, best first.

    Parameters
    ----------
    run : Run
        A finished run.
    checkpoints, fuse : str
        As `xraytransfer.export.members.choose_members`.

    Raises
    ------
    ExportError
        The run keeps no checkpoints, or not those; or it was thinned, and their weights are gone.
    """
    if not run.checkpoints:
        raise ExportError(f"{run.folder}: the run keeps no checkpoints; train it again")
    _check_weights(run, checkpoints, fuse)
    if "," in checkpoints:
        steps = _steps(checkpoints, run)
        return replace(run, checkpoints=[kept for kept in run.checkpoints if kept.step in steps])
    count = {"all": len(run.checkpoints), "best": 1}.get(checkpoints)
    if count is None:
        if not _is_number(checkpoints) or int(checkpoints) < 1:
            raise ExportError(
                f"--checkpoints {checkpoints!r}: expected all, best, a number from 1, or steps as 560,840"
            )
        count = int(checkpoints)
    if count > len(run.checkpoints):
        raise ExportError(
            f"{run.folder}: {count} checkpoints wanted, {len(run.checkpoints)} are kept, of steps {_kept(run)} "
            f"(one step alone is written {count},)"
        )
    return replace(run, checkpoints=run.checkpoints[:count])


def _check_weights(run: Run, checkpoints: str, fuse: str) -> None:
    """Raise `ExportError` where a thinned run no longer has the weights that the options ask for."""
    if run.kept_weights.keep == "soup" and (fuse != "soup" or checkpoints != "all"):
        raise ExportError(
            f"{run.folder}: thinned to soup: its single checkpoints are gone; --fuse soup --checkpoints all exports "
            f"the mean of their weights"
        )


def _steps(checkpoints: str, run: Run) -> list[int]:
    """Return the steps named in ``560,840`` or ``560,``, or raise ExportError with those that the run keeps."""
    names = [name.strip() for name in checkpoints.removesuffix(",").split(",")]
    if not all(map(_is_number, names)):
        raise ExportError(f"--checkpoints {checkpoints!r}: expected steps as 560,840; kept are {_kept(run)}")
    steps = [int(name) for name in names]
    if len(set(steps)) < len(steps):
        raise ExportError(f"--checkpoints {checkpoints!r}: names a step twice")
    kept = [checkpoint.step for checkpoint in run.checkpoints]
    if absent := [str(step) for step in steps if step not in kept]:
        raise ExportError(f"{run.folder}: no checkpoint of step {', '.join(absent)}; kept are {_kept(run)}")
    return steps


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _kept(run: Run) -> str:
    return ", ".join(str(step) for step in sorted(checkpoint.step for checkpoint in run.checkpoints))
