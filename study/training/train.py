"""One run: train, evaluate, keep the best, predict. Read it from top to bottom.

A run is a function of its configuration. Nothing is random but by (seed, step) or (seed, epoch), so the
resume state holds no generator: weights, optimiser, moving average, and how far it came. On the CPU, with
the same number of threads, a run that was killed anywhere and resumed ends with the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xraytransfer.errors import StudyError
from xraytransfer.files import write_json
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.study.data.run_data import RunData, load_data
from xraytransfer.study.networks.architectures import Architecture
from xraytransfer.study.networks.network import Network, build_network
from xraytransfer.study.training.augment import augment
from xraytransfer.study.training.checkpoints import (
    Checkpoint,
    load_resume,
    rank,
    save_checkpoint,
    save_resume,
    write_index,
)
from xraytransfer.study.training.distillation import teacher_probability
from xraytransfer.study.training.interrupts import Interrupted, stoppable
from xraytransfer.study.training.loss import masked_loss
from xraytransfer.study.training.metrics_file import Metrics, macro_and_each
from xraytransfer.study.training.optimizer import learning_rate, make_optimizer, update_average
from xraytransfer.study.training.precision import resolve_precision
from xraytransfer.study.training.predict import np_save, predict_rows, predict_splits
from xraytransfer.study.training.presets import Preset
from xraytransfer.study.training.resume_state import pack, unpack

__all__ = ["train"]

SAVE_SECONDS = 120.0
"""Seconds of work that a kill may cost, besides evaluations, which always save."""
LOG_STEPS = 20
"""Steps between looks at the loss: each look makes a GPU wait."""


def train(  # noqa: PLR0912, PLR0915 - the one long function: the loop, in the order in which it runs
    folder: Path, config: dict[str, Any], *, device: str = "cpu", say: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Run, or go on with, a run; return done.json's content.

    Parameters
    ----------
    folder : Path
        The run folder, with its config.json in place.
    config : dict
        Its settings; see `grid.run_config`.
    device : str
        ``cpu``, ``cuda`` or ``cuda:1``.
    say : callable or None
        Takes each line of the log too.

    Raises
    ------
    StudyError
        If data or settings do not fit, or the loss is not finite.
    Interrupted
        On SIGINT or SIGTERM, after the state was saved.
    """
    preset = Preset(**config["preset"])
    architecture = Architecture.from_dict(config["row"])
    place = torch.device(device)
    seed = int(config["seed"])
    started = time.monotonic()

    def log(line: str) -> None:
        stamp = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
        with (folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {line}\n")
        if say is not None:
            say(line)

    # data: everything in one memory map; a label for each training film
    data: RunData = load_data(config)
    outputs: list[str] = config["outputs"]
    judged = [k for k, name in enumerate(outputs) if name in {o.identifier for o in OBSERVATIONS}]
    train_rows, validation_rows = data.rows["train"], data.rows["validation"]
    target, validation_label = data.label[train_rows], data.label[validation_rows]
    batches = len(train_rows) // preset.batch
    if batches == 0:
        raise StudyError(f"{len(train_rows)} training films are less than one batch of {preset.batch}")
    steps = batches * preset.epochs
    positives, negatives = np.nansum(target == 1, axis=0), np.nansum(target == 0, axis=0)

    # network, average and optimiser; the state of an interrupted run replaces all three
    torch.manual_seed(seed)
    resumed = load_resume(folder / "last")
    weights = None if config["weights"]["path"] is None else Path(config["weights"]["path"])
    network = build_network(
        architecture,
        outputs=len(outputs),
        truncation=int(config["truncation"]),
        # the pretrained weights are in the state already
        initialisation="random" if resumed else config["initialisation"],
        weights=weights,
    )
    network.dropout.p = preset.dropout
    if preset.prior_bias:
        with torch.no_grad():
            network.head.bias.copy_(torch.from_numpy(np.log((positives + 1) / (negatives + 1))))
    network = network.to(place).to(memory_format=torch.channels_last)
    average: Network | None = None
    if preset.ema:
        average = build_network(
            architecture, outputs=len(outputs), truncation=int(config["truncation"]), initialisation="random"
        )
        average = average.to(place).to(memory_format=torch.channels_last)
        average.load_state_dict(network.state_dict())
    optimizer = make_optimizer(network, preset)
    checkpoints: list[Checkpoint] = []
    step, evaluated, loss_steps, loss_sum = 0, -1, 0, torch.zeros((), dtype=torch.float64, device=place)
    if resumed:
        tensors, progress = resumed
        loss_sum = tensors.pop("loss_sum").to(place)
        unpack(tensors, network, average, optimizer)
        step, evaluated, loss_steps = progress["step"], progress["evaluated"], progress["loss_steps"]
        checkpoints = [Checkpoint(**row) for row in progress["checkpoints"]]
        log(f"resumed at step {step} of {steps}")
    dtype = resolve_precision(preset, architecture.family, place)
    scaler = torch.amp.GradScaler(place.type, enabled=dtype == torch.float16)
    if resumed and progress.get("scaler"):
        scaler.load_state_dict(progress["scaler"])
    weight = None
    if preset.positive_weight == "sqrt":
        ratio = np.sqrt(np.clip(negatives, 1, None) / np.clip(positives, 1, None)).clip(0.2, 5)
        weight = torch.from_numpy(ratio.astype(np.float32)).to(place)
    forward: Callable[[Tensor], Tensor] = torch.compile(network) if preset.compile else network
    metrics = Metrics(folder / "metrics.csv", outputs, evaluated)
    log(
        f"{folder.name}: {network.parameter_count():,} parameters, {len(train_rows)} training and "
        f"{len(validation_rows)} validation films, {steps} steps on {place}, {torch.get_num_threads()} threads, {dtype}"
    )

    def save() -> None:
        progress = {
            "step": step,
            "evaluated": evaluated,
            "loss_steps": loss_steps,
            "checkpoints": [asdict(checkpoint) for checkpoint in checkpoints],
            "scaler": scaler.state_dict(),
        }
        save_resume(folder / "last", {**pack(network, average, optimizer), "loss_sum": loss_sum}, progress)

    def check_loss() -> None:
        if not math.isfinite(float(loss_sum)):
            raise StudyError(f"the loss is not finite at step {step}; a lower learning_rate may help")

    since = step
    with stoppable() as stop:
        try:
            taught = None
            if "teacher" in config:
                taught = teacher_probability(folder, config, data, device=place, stop=stop, log=log)
            saved = clock = time.monotonic()
            while True:
                # evaluate, where an interval ends; resuming comes by here first, so nothing is skipped or done twice
                due = step == steps or (step * preset.batch) // preset.evaluate_every > (
                    (step - 1) * preset.batch // preset.evaluate_every
                )
                if step > 0 and due and evaluated < step:
                    check_loss()
                    rate = (step - since) * preset.batch / max(time.monotonic() - clock, 1e-9)
                    judge = network if average is None else average
                    probability = predict_rows(judge, data.pixels, validation_rows, place, stop)
                    macro, _ = macro_and_each(validation_label[:, judged], probability[:, judged])
                    if math.isnan(macro):
                        raise StudyError("no observation has positives and negatives among the validation films")
                    every = macro_and_each(validation_label, probability)[1]
                    loss = float(loss_sum) / max(loss_steps, 1)
                    candidate = Checkpoint(step, "", macro, "")
                    if candidate in rank([*checkpoints, candidate], preset.keep):
                        candidate = save_checkpoint(folder / "checkpoints", step, macro, judge)
                        np_save(folder / "predictions" / "parts" / f"validation-{step:08d}.npy", probability)
                        checkpoints = rank([*checkpoints, candidate], preset.keep)
                    evaluated, loss_steps = step, 0
                    loss_sum.zero_()
                    lr = learning_rate(preset, step - 1, steps)
                    metrics.add([step, step * preset.batch, step / batches, loss, macro, *every, lr, round(rate, 2)])
                    # first the state, then what it names, then away with what it does not name
                    save()
                    write_index(folder / "checkpoints", checkpoints)
                    left = (steps - step) * preset.batch / max(rate, 1e-9)
                    log(
                        f"step {step}/{steps} loss {loss:.4f} validation AUROC {macro:.4f} "
                        f"{rate:.0f} images/s, {left / 60:.0f} min left"
                    )
                    saved = clock = time.monotonic()
                    since = step
                if step == steps:
                    break
                stop()

                # one step
                epoch, position = divmod(step, batches)
                order = np.random.default_rng([seed, epoch]).permutation(len(train_rows))
                chosen = order[position * preset.batch : (position + 1) * preset.batch]
                generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
                torch.manual_seed(seed * 1_000_003 + step)  # for dropout
                x = torch.from_numpy(data.pixels[train_rows[chosen]])[:, None].to(place, non_blocking=True).float()
                x = augment(x, preset, generator).contiguous(memory_format=torch.channels_last)
                y = torch.from_numpy(target[chosen]).to(place, non_blocking=True)
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(preset, step, steps)
                network.train()
                with torch.autocast(place.type, dtype=dtype, enabled=dtype != torch.float32):
                    logits = forward(x)
                loss_now = masked_loss(logits, y, weight)
                if taught is not None:
                    share = float(config["teacher"]["share"])
                    said = torch.from_numpy(taught[chosen]).to(place, non_blocking=True)
                    # the weighting that the teachers learned with is in their answers
                    loss_now = (1 - share) * loss_now + share * masked_loss(logits, said, None)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(scaler.scale(loss_now))
                scaler.step(optimizer)
                scaler.update()
                step += 1
                if average is not None:
                    update_average(average, network, preset.ema, step)
                loss_sum += loss_now.detach()
                loss_steps += 1
                if step % LOG_STEPS == 0:
                    check_loss()
                    if time.monotonic() - saved > SAVE_SECONDS:
                        save()
                        saved = time.monotonic()
            splits = ("validation",) if config.get("test") == "untouched" else ("validation", "test")
            write_index(folder / "checkpoints", checkpoints)
            done = predict_splits(folder, outputs, data, checkpoints, network, splits=splits, stop=stop)
        except Interrupted:
            # predictions resume by their parts; the loop by its state
            if step < steps:
                save()
            log(f"stopped at step {step} of {steps}; run it again to go on")
            raise
    done |= {
        "steps": steps,
        "parameters": network.parameter_count(),
        "seconds_this_process": round(time.monotonic() - started, 1),
        "device": torch.cuda.get_device_name(place) if place.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "precision": str(dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "finished": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    write_json(folder / "done.json", done)
    (folder / "failed.json").unlink(missing_ok=True)
    both = f"{done['validation_auroc']['macro']}, of the mean of weights {done['soup_validation_auroc']['macro']}"
    log(f"done: ensemble validation AUROC {both}")
    return done
