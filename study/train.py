"""One run: train, evaluate, keep the best, predict. Read it from top to bottom.

A run is a function of its configuration. Nothing is random but by (seed, step) or (seed, epoch), so the
resume state holds no generator: weights, optimiser, moving average, and how far it came. On the CPU, with
the same number of threads, a run that was killed anywhere and resumed ends with the same bits.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from xraytransfer.errors import StudyError
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.study.architectures import Architecture
from xraytransfer.study.augment import augment
from xraytransfer.study.checkpoints import (
    Checkpoint,
    load_resume,
    load_tensors,
    rank,
    save_checkpoint,
    save_resume,
    soup,
    write_index,
)
from xraytransfer.study.network import Network, build_network
from xraytransfer.study.predictions import predictions_of, write_predictions
from xraytransfer.study.presets import Preset
from xraytransfer.study.run_data import RunData, load_data
from xraytransfer.study.safe_write import write_json, write_with
from xraytransfer.study.stats import auroc
from xraytransfer.study.stopping import Interrupted, stoppable

__all__ = ["macro_auroc", "predict_rows", "train"]

SAVE_SECONDS = 120.0
"""Seconds of work that a kill may cost, besides evaluations, which always save."""
LOG_STEPS = 20
"""Steps between looks at the loss: each look makes a GPU wait."""
EVALUATION_BATCH = 64


def macro_auroc(label: NDArray[np.float32], probability: NDArray[np.float32]) -> tuple[float, list[float]]:
    """Return the mean AUROC over the observations that have one, and each.

    Parameters
    ----------
    label : NDArray
        float32, shape (films, observations); NaN masked.
    probability : NDArray
        float32, same shape.

    Returns
    -------
    macro : float
        NaN if no observation has both positives and negatives.
    each : list of float
        NaN where undefined.
    """
    each = [float(auroc(label[:, k], probability[:, k])) for k in range(label.shape[1])]
    defined = [value for value in each if not math.isnan(value)]
    return (sum(defined) / len(defined) if defined else math.nan), each


def resolve_precision(preset: Preset, family: str, device: torch.device) -> torch.dtype:
    """Return the autocast type: float32 means none.

    ``auto`` is bfloat16 on a GPU, float16 on one too old for it; on a CPU it is bfloat16 only where the
    processor has instructions for it and the family is made of full convolutions: depthwise ones are
    slower that way.
    """
    if preset.precision != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[preset.precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    flags = Path("/proc/cpuinfo")
    native = flags.is_file() and any(word in flags.read_text() for word in ("avx512_bf16", "amx_bf16", " bf16 "))
    return torch.bfloat16 if native and family in ("ResNet", "DenseNet", "Inception") else torch.float32


def predict_rows(
    network: nn.Module,
    pixels: NDArray[np.uint8],
    rows: NDArray[np.intp],
    device: torch.device,
    stop: Callable[[], None],
) -> NDArray[np.float32]:
    """Return probabilities of some rows of a cache, float32 arithmetic, shape (rows, outputs)."""
    network.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), EVALUATION_BATCH):
            stop()
            x = torch.from_numpy(pixels[rows[start : start + EVALUATION_BATCH]])[:, None].to(device).float()
            parts.append(network(x.contiguous(memory_format=torch.channels_last)).sigmoid().float().cpu())
    return torch.cat(parts).numpy()


def masked_loss(logits: Tensor, target: Tensor, positive_weight: Tensor | None) -> Tensor:
    """Return binary cross-entropy, the mean over what is not masked (NaN)."""
    known = ~target.isnan()
    each = functional.binary_cross_entropy_with_logits(
        logits.float(), torch.where(known, target, 0.0), reduction="none", pos_weight=positive_weight
    )
    return (each * known).sum() / known.sum().clamp(min=1)


def make_optimizer(network: nn.Module, preset: Preset) -> torch.optim.Optimizer:
    """Return the optimiser; weight decay only where a parameter has two dimensions or more."""
    kernels = [p for p in network.parameters() if p.ndim >= 2]
    others = [p for p in network.parameters() if p.ndim < 2]
    groups = [{"params": kernels, "weight_decay": preset.weight_decay}, {"params": others, "weight_decay": 0.0}]
    kind = torch.optim.Adam if preset.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=preset.learning_rate, betas=(0.9, 0.999), weight_decay=0.0)


def learning_rate(preset: Preset, step: int, steps: int) -> float:
    """Return the learning rate of a step, 0 to steps - 1."""
    warm = preset.warmup * steps
    if step < warm:
        return preset.learning_rate * (step + 1) / (warm + 1)
    if preset.schedule == "constant":
        return preset.learning_rate
    return preset.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the average's weights and statistics towards the network's. Early on faster."""
    decay = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)


def pack(network: nn.Module, average: nn.Module | None, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return all tensors of the resume state under flat names."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    return tensors


def unpack(
    tensors: dict[str, Tensor], network: nn.Module, average: nn.Module | None, optimizer: torch.optim.Optimizer
) -> None:
    """Put back what `pack` took, each tensor in its parameter's memory layout."""

    def part(prefix: str) -> dict[str, Tensor]:
        return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}

    network.load_state_dict(part("network."))
    if average is not None:
        average.load_state_dict(part("average."))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, value in part("optimizer.").items():
        index, _, key = name.partition(".")
        parameter = parameters[int(index)]
        moment = value.shape == parameter.shape and key != "step"
        optimizer.state[parameter][key] = torch.empty_like(parameter).copy_(value) if moment else value


class Metrics:
    """metrics.csv: one row per evaluation."""

    def __init__(self, path: Path, observations: list[str], evaluated: int) -> None:
        self.path = path
        self.columns = ["step", "examples", "epoch", "train_loss", "validation_auroc"]
        self.columns += [f"auroc_{name}" for name in observations] + ["learning_rate", "images_per_second"]
        rows: list[dict[str, str]] = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                # a row may have been written after the state that is resumed from
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= evaluated]
        write_with(path, lambda temporary: self._write(temporary, rows))

    def _write(self, path: Path, rows: list[dict[str, str]]) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)

    def add(self, values: list[object]) -> None:
        """Append a row."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(["" if isinstance(v, float) and math.isnan(v) else v for v in values])


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

    saved = clock = time.monotonic()
    since = step
    with stoppable() as stop:
        try:
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
                    macro, _ = macro_auroc(validation_label[:, judged], probability[:, judged])
                    if math.isnan(macro):
                        raise StudyError("no observation has positives and negatives among the validation films")
                    every = macro_auroc(validation_label, probability)[1]
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
            done = _finish(folder, outputs, data, checkpoints, network, splits=splits, stop=stop)
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


def np_save(path: Path, array: NDArray[np.float32]) -> None:
    """Write an array in one step."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, array, allow_pickle=False)

    write_with(path, write)


def _finish(
    folder: Path,
    outputs: list[str],
    data: RunData,
    checkpoints: list[Checkpoint],
    network: Network,
    *,
    splits: Sequence[str],
    stop: Callable[[], None],
) -> dict[str, Any]:
    """Predict the films of some splits with every kept checkpoint and with the mean of their weights.

    Returns the AUROCs of the ensemble, and of the soup.
    """
    write_index(folder / "checkpoints", checkpoints)
    parts = folder / "predictions" / "parts"
    device = network.head.weight.device
    done: dict[str, Any] = {"best_validation_auroc": checkpoints[0].validation_auroc}

    def weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
        return load_tensors(folder / "checkpoints" / checkpoint.file, checkpoint.sha256)

    def predict(part: Path, rows: NDArray[np.intp], state: Callable[[], dict[str, Tensor]]) -> NDArray[np.float32]:
        if not part.is_file():
            network.load_state_dict(state())
            np_save(part, predict_rows(network, data.pixels, rows, device, stop))
        probability: NDArray[np.float32] = np.load(part, allow_pickle=False)
        return probability

    for split in splits:
        rows = data.rows[split]
        members = [
            predict(parts / f"{split}-{checkpoint.step:08d}.npy", rows, partial(weights, checkpoint))
            for checkpoint in checkpoints
        ]
        mixed = predict(parts / f"{split}-soup.npy", rows, lambda: soup([weights(c) for c in checkpoints]))
        predictions = predictions_of(
            data.table.subset(rows),
            outputs,
            data.label[rows],
            np.stack(members, axis=1),
            [checkpoint.step for checkpoint in checkpoints],
            soup=mixed,
        )
        write_predictions(folder / "predictions" / f"{split}.npz", predictions)
        judged = [k for k, name in enumerate(outputs) if name in {o.identifier for o in OBSERVATIONS}]
        names = [outputs[k] for k in judged]
        for key, probability in ((f"{split}_auroc", predictions.ensemble()), (f"soup_{split}_auroc", mixed)):
            macro, each = macro_auroc(predictions.label[:, judged], probability[:, judged])
            done[key] = {
                name: None if math.isnan(value) else round(value, 6)
                for name, value in zip(["macro", *names], [macro, *each], strict=True)
            }
    for path in parts.glob("*.npy"):
        path.unlink()
    parts.rmdir()
    return done
