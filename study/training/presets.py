"""Presets: every setting of training, as data.

``paper``: the published settings, as far as they are known. It also decides options of the grid, where they are not
given (`GRID_DEFAULTS`): uncertain labels are ignored, all views are trained on, all labels are outputs.
``modern``: settings chosen from experience and from the reports of others. One pair of runs on NIH's sample at 64 px
(docs/model/trials-0.1.md) compared it with ``paper``, whose AUROC was lower by .020 (95 % interval of the difference
-.059 to +.006): the two were not told apart.
``tiny``: settings for tests and the demo; a run takes seconds on one core and learns little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace

from xraytransfer.errors import StudyError

__all__ = ["BFLOAT16_FAMILIES", "GRID_DEFAULTS", "PRESETS", "Preset", "change_preset", "parse_changes"]

BFLOAT16_FAMILIES = ("ResNet", "DenseNet", "Inception")
"""Families that precision ``auto`` trains in bfloat16 on a CPU that has instructions for it: full convolutions."""


@dataclass(frozen=True)
class Preset:
    """The settings of training.

    Attributes
    ----------
    name : str
        The preset that the settings were derived from; config.json shows every setting that was changed.
    resolution : int
        Side of the picture, pixels.
    placement : str
        ``stretch`` or ``crop``; see `xraytransfer.study.data.placement`.
    random_normalisation : str
        ``imagenet`` or ``chexpert``: mean and deviation that networks with random weights are given.
    judged_by : str
        ``film`` or ``examination``: what the report's numbers are of. The probability of an examination is the
        greatest of its films'.
    batch : int
        Films per step.
    epochs : int
        Passes over the training films; each leaves out an incomplete last batch.
    evaluate_every : int
        Examples (not steps) between evaluations on the validation patients.
    keep : int
        Number of best checkpoints that are kept.
    optimizer : str
        ``adam`` or ``adamw``.
    learning_rate : float
        Peak learning rate.
    weight_decay : float
        Weight decay of adamw; it applies to matrices and kernels, not to biases and normalisation.
    schedule : str
        ``constant`` or ``cosine`` (to zero).
    warmup : float
        Share of all steps over which the learning rate rises linearly.
    ema : float
        Decay of the moving average of the weights; the average is then evaluated and kept. 0 for no average.
    dropout : float
        Dropout before the head.
    positive_weight : str
        ``none``, or ``sqrt``: positives weigh the square root of negatives / positives (at most 5).
    smoothing : float
        Label smoothing: labels move by half of this towards the other answer, so 0.1 makes of them 0.95 and 0.05
        (Szegedy et al. 2016).
    bootstrap : float
        Share of each target that is the network's own probability at that moment (soft bootstrapping, Reed et al.
        2015).
    trimming : float
        Share of a batch's labels, of films and observations alike, that does not count: those with the highest loss,
        from the second epoch on (small-loss selection: Han et al. 2018, Co-teaching; Shen and Sanghavi 2019, Iterative
        Trimmed Loss Minimization).
    prior_bias : bool
        Whether the bias of the head starts at the log odds of the training films.
    precision : str
        ``float32``; ``bfloat16`` or ``float16`` (autocast; float16 with loss scaling); or ``auto``, the fastest for
        the device and the family. Evaluation is always float32.
    compile : bool
        Whether to use torch.compile.
    rotation : float
        Augmentation: rotation by up to this angle, degrees.
    scale : float
        Zoom by up to this share.
    shift : float
        Shift by up to this share of the side.
    brightness, contrast, gamma : float
        Greatest change: of brightness as a share of the grey range; of contrast as a factor 1 +- contrast; of gamma
        as an exponent exp(+- gamma).
    soften : float
        Share of films that are scaled down by a factor of up to 2.5 and up again, so that the sharpness of a film
        does not reveal its source.
    erase : float
        Share of films in which a random rectangle is blanked.
    equalise : float
        Share of films whose histogram is equalised, wholly or in part, as the recipe ``chexpert`` and some
        workstations do.
    levels : float
        Black point and white point move inwards by up to this share of the grey range, independently, as windows do.
    noise : float
        Greatest standard deviation of noise that is added to each pixel, as a share of the grey range; drawn for each
        film.
    """

    name: str
    resolution: int = 320
    placement: str = "stretch"
    random_normalisation: str = "imagenet"
    judged_by: str = "film"
    batch: int = 16
    epochs: int = 3
    evaluate_every: int = 8192
    keep: int = 10
    optimizer: str = "adam"
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup: float = 0.0
    ema: float = 0.0
    dropout: float = 0.0
    positive_weight: str = "none"
    smoothing: float = 0.0
    bootstrap: float = 0.0
    trimming: float = 0.0
    prior_bias: bool = False
    precision: str = "auto"
    compile: bool = False
    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    soften: float = 0.0
    erase: float = 0.0
    equalise: float = 0.0
    levels: float = 0.0
    noise: float = 0.0

    def to_dict(self) -> dict[str, object]:
        """Return all settings, for config.json."""
        return asdict(self)


PRESETS: dict[str, Preset] = {
    # Ke et al. 2021: 320 px, Adam 1e-4, batch 16, 3 epochs, evaluation every 8,192 examples, no augmentation
    # shorter side resized and crop, CheXpert's mean and deviation, float32, judged by examination (its lab's code)
    "paper": Preset(
        "paper",
        placement="crop",
        random_normalisation="chexpert",
        judged_by="examination",
        precision="float32",
    ),
    "modern": Preset(
        "modern",
        resolution=224,
        batch=32,
        epochs=12,
        evaluate_every=4096,
        optimizer="adamw",
        learning_rate=5e-4,
        weight_decay=0.05,
        schedule="cosine",
        warmup=0.05,
        ema=0.998,
        dropout=0.2,
        positive_weight="sqrt",
        prior_bias=True,
        rotation=10.0,
        scale=0.12,
        shift=0.06,
        brightness=0.12,
        contrast=0.2,
        gamma=0.25,
        soften=0.5,
    ),
    "tiny": Preset(
        "tiny",
        resolution=64,
        batch=16,
        epochs=2,
        evaluate_every=64,
        keep=3,
        optimizer="adamw",
        learning_rate=2e-3,
        schedule="cosine",
        precision="float32",
        prior_bias=True,
        shift=0.05,
    ),
}


GRID_DEFAULTS = {
    "label_policy": ("u_zeros", {"paper": "u_ignore"}),
    "views": ("frontal", {"paper": "all"}),
    "head": ("product", {"paper": "paper"}),
}
"""Options of a grid that a preset decides where they are not given: default, and what other presets take."""


def parse_changes(items: Sequence[str]) -> dict[str, object]:
    """Return ``{"epochs": 5}`` from ``["epochs=5"]``.

    Raises
    ------
    StudyError
        If an item names no setting, or its value has another type.
    """
    types = {field.name: type(getattr(PRESETS["paper"], field.name)) for field in fields(Preset)}
    changes: dict[str, object] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals or name not in types or name == "name":
            raise StudyError(
                f"--set {item!r}: NAME=VALUE expected, NAME one of {', '.join(sorted(set(types) - {'name'}))}"
            )
        try:
            changes[name] = {"true": True, "false": False}[text.lower()] if types[name] is bool else types[name](text)
        except (ValueError, KeyError) as error:
            raise StudyError(f"--set {item!r}: {text!r} is no {types[name].__name__}") from error
    return changes


_CHOICES = {
    "placement": ("stretch", "crop"),
    "random_normalisation": ("imagenet", "chexpert"),
    "judged_by": ("film", "examination"),
    "optimizer": ("adam", "adamw"),
    "schedule": ("constant", "cosine"),
    "positive_weight": ("none", "sqrt"),
    "precision": ("auto", "float32", "bfloat16", "float16"),
}


_LIMITS = {
    "rotation": 180.0,
    # more than about half a side, or half the grey range, would leave nothing of some films
    **dict.fromkeys(("scale", "shift", "levels", "noise"), 0.45),
    **dict.fromkeys(("brightness", "contrast", "soften", "erase", "equalise"), 1.0),
    "gamma": 3.0,
    "weight_decay": 10.0,
    # it keeps the labels that most others agree with: a majority has to be right
    "trimming": 0.5,
}
"""The greatest sensible value of each setting."""


def change_preset(name: str, changes: Mapping[str, object]) -> Preset:
    """Return a preset with some settings changed.

    Raises
    ------
    StudyError
        If the preset is unknown, or a value makes no sense.
    """
    if name not in PRESETS:
        raise StudyError(f"preset {name!r} is none of {', '.join(PRESETS)}")
    preset = replace(PRESETS[name], **changes)  # type: ignore[arg-type]
    for setting, choices in _CHOICES.items():
        if getattr(preset, setting) not in choices:
            raise StudyError(f"{setting} {getattr(preset, setting)!r} is none of {', '.join(choices)}")
    for setting in ("resolution", "batch", "epochs", "evaluate_every", "keep", "learning_rate"):
        if not getattr(preset, setting) > 0:
            raise StudyError(f"{setting} must be greater than 0, found {getattr(preset, setting)}")
    for setting in ("ema", "dropout", "warmup", "smoothing", "bootstrap"):
        if not 0 <= getattr(preset, setting) < 1:
            raise StudyError(f"{setting} must be at least 0 and less than 1, found {getattr(preset, setting)}")
    for setting, limit in _LIMITS.items():
        if not 0 <= getattr(preset, setting) <= limit:
            raise StudyError(f"{setting} must be from 0 to {limit:g}, found {getattr(preset, setting)}")
    if preset.trimming and preset.epochs == 1:
        raise StudyError(f"trimming begins with the second epoch: epochs must be at least 2, found {preset.epochs}")
    return preset
