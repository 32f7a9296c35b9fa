"""One run: train, evaluate, keep the best checkpoints, predict.

`train` is one function of over 200 lines, in the order in which it runs: its steps share model, optimiser, moving
average, data and resume state, and functions of their own would each take all of them.

A run is a function of its configuration. All random numbers depend on (seed, step) or (seed, epoch) alone, so the
resume state holds no generator: it holds weights, optimiser, moving average and the number of steps taken. On
CPUs of the same kind, with the same number of threads, a run that was killed at any moment and resumed ends with the
same bits.
"""

from __future__ import annotations

import copy
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xraytransfer.errors import StudyError
from xraytransfer.files import write_json
from xraytransfer.folder_lock import FolderLock
from xraytransfer.study.data.placement import training_pixels
from xraytransfer.study.data.run_data import RunData, load_data
from xraytransfer.study.networks.architectures import Architecture
from xraytransfer.study.networks.network import build_network
from xraytransfer.study.networks.weights import check_same_weights
from xraytransfer.study.training.checkpoints import (
    Checkpoint,
    load_resume,
    pack,
    rank,
    save_checkpoint,
    save_resume,
    unpack,
    write_index,
)
from xraytransfer.study.training.distillation import teacher_probability
from xraytransfer.study.training.interrupts import Interrupted, stoppable
from xraytransfer.study.training.metrics_file import MetricsFile, macro_and_each, observed_columns
from xraytransfer.study.training.optimizer import learning_rate, update_average
from xraytransfer.study.training.predict import predict_rows, predict_splits, save_array
from xraytransfer.study.training.presets import Preset
from xraytransfer.study.training.step import TrainingStep

__all__ = ["train"]

SAVE_SECONDS = 120.0
"""Seconds between saves of the resume state: what a kill may cost. Each evaluation saves it too."""
LOG_STEPS = 20
"""Steps between checks of the loss: each check makes the CPU wait for the GPU."""


def train(  # noqa: PLR0912, PLR0915 - the one long function: the loop, in the order in which it runs
    folder: Path,
    config: dict[str, Any],
    *,
    device_name: str = "cpu",
    log: Callable[[str], None] | None = None,
    lock: FolderLock | None = None,
) -> dict[str, Any]:
    """Start a run or resume it; return the content of done.json.

    Parameters
    ----------
    folder : Path
        The run folder, with its config.json in place.
    config : dict
        The settings of the run; see `grid_runs.run_config`.
    device_name : str
        ``cpu``, ``cuda`` or ``cuda:1``.
    log : callable or None
        Is called with each line of the log.
    lock : FolderLock or None
        The lock on the run folder; it is checked before each save.

    Raises
    ------
    BusyError
        If another process has taken the run over.
    StudyError
        If data or settings do not fit, or the loss is not finite.
    Interrupted
        On SIGINT or SIGTERM, after the resume state was saved.
    """
    preset = Preset(**config["preset"])
    architecture = Architecture.from_dict(config["row"])
    device = torch.device(device_name)
    seed = int(config["seed"])
    started = time.monotonic()

    def write_log(line: str) -> None:
        stamp = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
        with (folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {line}\n")
        if log is not None:
            log(line)

    # the data: one memory map of all films, and their labels
    data: RunData = load_data(config)
    outputs: list[str] = config["outputs"]
    observed = observed_columns(outputs)
    train_rows, validation_rows = data.rows["train"], data.rows["validation"]
    target, validation_label = data.label[train_rows], data.label[validation_rows]
    batches = len(train_rows) // preset.batch
    if batches == 0:
        raise StudyError(f"{len(train_rows)} training films are less than one batch of {preset.batch}")
    steps = batches * preset.epochs
    positives, negatives = np.nansum(target == 1, axis=0), np.nansum(target == 0, axis=0)

    # the network, its moving average and the optimiser; the state of an interrupted run replaces all three
    torch.manual_seed(seed)
    resumed = load_resume(folder / "last")
    if not resumed and (parts := folder / "predictions" / "parts").is_dir():
        shutil.rmtree(parts)  # predictions of an earlier attempt are of other weights
    weights = config["weights"]["path"]
    if not resumed:
        check_same_weights(architecture, config["weights"])
    network = build_network(
        architecture,
        outputs=len(outputs),
        truncation=int(config["truncation"]),
        # a resume state holds all weights
        initialisation="random" if resumed else config["initialisation"],
        weights=None if weights is None else Path(weights),
    )
    network.dropout.p = preset.dropout
    if preset.prior_bias:
        with torch.no_grad():
            network.head.bias.copy_(torch.from_numpy(np.log((positives + 1) / (negatives + 1))))
    network = network.to(device).to(memory_format=torch.channels_last)
    average = copy.deepcopy(network) if preset.ema else None
    positive_weight = None
    if preset.positive_weight == "sqrt":
        ratio = np.sqrt(np.clip(negatives, 1, None) / np.clip(positives, 1, None)).clip(0.2, 5)
        positive_weight = torch.from_numpy(ratio.astype(np.float32)).to(device)
    training = TrainingStep(network, preset, architecture.family, device, positive_weight)
    checkpoints: list[Checkpoint] = []
    step, evaluated_step, loss_steps = 0, -1, 0
    precisions = [str(training.dtype).removeprefix("torch.")]
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    if resumed:
        tensors, progress = resumed
        loss_sum = tensors.pop("loss_sum").to(device)
        unpack(tensors, network, average, training.optimizer)
        step, evaluated_step, loss_steps = progress["step"], progress["evaluated"], progress["loss_steps"]
        checkpoints = [Checkpoint(**row) for row in progress["checkpoints"]]
        if progress.get("scaler"):
            training.scaler.load_state_dict(progress["scaler"])
        write_log(f"resumed at step {step} of {steps}")
        # `auto` depends on the device, which may be another one now; older versions did not note what it was
        earlier = progress.get("precisions", precisions)
        if earlier[-1] != precisions[0]:
            write_log(f"the precision was {earlier[-1]}, and is {precisions[0]} from here on")
        precisions = [*(one for one in earlier if one != precisions[0]), *precisions]
    if lock is not None:
        write_log(f"others are kept out of this folder by {lock.kind}")
    metrics = MetricsFile(folder / "metrics.csv", outputs, evaluated_step)
    write_log(
        f"{folder.name}: {network.parameter_count():,} parameters, {len(train_rows)} training and "
        f"{len(validation_rows)} validation films, {steps} steps on {device}, {torch.get_num_threads()} threads, "
        f"{training.dtype}"
    )

    def check_owner() -> None:
        if lock is not None:
            lock.check()

    def save() -> None:
        check_owner()
        progress = {
            "step": step,
            "steps": steps,
            "evaluated": evaluated_step,
            "loss_steps": loss_steps,
            "checkpoints": [asdict(checkpoint) for checkpoint in checkpoints],
            "scaler": training.scaler.state_dict(),
            "precisions": precisions,
        }
        save_resume(folder / "last", {**pack(network, average, training.optimizer), "loss_sum": loss_sum}, progress)

    def check_loss() -> None:
        if not math.isfinite(float(loss_sum)):
            raise StudyError(f"the loss is not finite at step {step}; a lower learning_rate may help")

    first_step = step  # since the last evaluation
    with stoppable() as stop:
        try:
            teacher, share = None, 0.0
            if "teacher" in config:
                share = float(config["teacher"]["share"])
                teacher = teacher_probability(folder, config, data, device=device, stop=stop, log=write_log)
            saved = clock = time.monotonic()
            while True:
                # evaluate at the end of an interval; a resumed run starts here, so no evaluation is lost or repeated
                due = step == steps or (step * preset.batch) // preset.evaluate_every > (
                    (step - 1) * preset.batch // preset.evaluate_every
                )
                if step > 0 and due and evaluated_step < step:
                    check_loss()
                    rate = (step - first_step) * preset.batch / max(time.monotonic() - clock, 1e-9)
                    evaluated = network if average is None else average
                    probability = predict_rows(evaluated, data.pixels, validation_rows, device, stop)
                    macro, _ = macro_and_each(validation_label[:, observed], probability[:, observed])
                    if math.isnan(macro):
                        raise StudyError("no observation has positives and negatives among the validation films")
                    every = macro_and_each(validation_label, probability)[1]
                    loss = float(loss_sum) / max(loss_steps, 1)
                    candidate = Checkpoint(step, "", macro, "")
                    check_owner()
                    if candidate in rank([*checkpoints, candidate], preset.keep):
                        candidate = save_checkpoint(folder / "checkpoints", step, macro, evaluated)
                        save_array(folder / "predictions" / "parts" / f"validation-{step:08d}.npy", probability)
                        checkpoints = rank([*checkpoints, candidate], preset.keep)
                    evaluated_step, loss_steps = step, 0
                    loss_sum.zero_()
                    lr = learning_rate(preset, step - 1, steps)
                    metrics.add([step, step * preset.batch, step / batches, loss, macro, *every, lr, round(rate, 2)])
                    # the state first, which names the checkpoints; then the index, which deletes all other weights
                    save()
                    write_index(folder / "checkpoints", checkpoints)
                    left = (steps - step) * preset.batch / max(rate, 1e-9)
                    write_log(
                        f"step {step}/{steps} loss {loss:.4f} validation AUROC {macro:.4f} "
                        f"{rate:.0f} images/s, {left / 60:.0f} min left"
                    )
                    saved = clock = time.monotonic()
                    first_step = step
                if step == steps:
                    break
                stop()

                # one step; its random numbers depend on the seed and on the epoch or the step alone
                epoch, position = divmod(step, batches)
                order = np.random.default_rng([seed, epoch]).permutation(len(train_rows))
                key = seed * 1_000_003 + step
                chosen = order[position * preset.batch : (position + 1) * preset.batch]
                x = training.make_batch(training_pixels(data.pixels, train_rows[chosen], key), key)
                loss_now = training.learn(
                    x,
                    target[chosen],
                    learning_rate(preset, step, steps),
                    None if teacher is None else teacher[chosen],
                    share,
                    # a label can be told from noise by its loss only after the network has learned from the others
                    trimming=preset.trimming if epoch > 0 else 0.0,
                )
                step += 1
                if average is not None:
                    update_average(average, network, preset.ema, step)
                loss_sum += loss_now
                loss_steps += 1
                if step % LOG_STEPS == 0:
                    check_loss()
                    if time.monotonic() - saved > SAVE_SECONDS:
                        save()
                        saved = time.monotonic()
            splits = ("validation",) if config.get("test") == "untouched" else ("validation", "test")
            check_owner()
            write_index(folder / "checkpoints", checkpoints)
            done = predict_splits(folder, outputs, data, checkpoints, network, splits=splits, stop=stop)
        except Interrupted:
            # predictions resume from their parts, the loop from its state
            if step < steps:
                save()
            write_log(f"stopped at step {step} of {steps}; run it again to go on")
            raise
    done |= {
        "steps": steps,
        "parameters": network.parameter_count(),
        "seconds_this_process": round(time.monotonic() - started, 1),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "precision": ", ".join(precisions),
        "torch": torch.__version__,
        "finished": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    check_owner()
    write_json(folder / "done.json", done)
    (folder / "failed.json").unlink(missing_ok=True)
    both = f"{done['validation_auroc']['macro']}, of the mean of weights {done['soup_validation_auroc']['macro']}"
    write_log(f"done: ensemble validation AUROC {both}")
    return done
