"""The quality gate: a small network that tells the kind of a film, and how far it lies from the training films.

Conventions
-----------
Its body is a truncated network of the study (`network.Network`) with one output for each of
`xraytransfer.quality_gate.KINDS`. Its folder holds ``judge.safetensors`` and ``judge.json``: the files keep the names
of version 0.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xraytransfer.errors import StudyError
from xraytransfer.files import read_json, write_json
from xraytransfer.quality_gate import KINDS
from xraytransfer.study.networks.architectures import Architecture
from xraytransfer.study.networks.network import Network, build_network
from xraytransfer.study.training.checkpoints import load_tensors, save_tensors

__all__ = ["QualityGateNetwork", "empty_quality_gate", "load_quality_gate", "save_quality_gate"]


class QualityGateNetwork(nn.Module):
    """A network from grey levels to kinds, distance, and the side of the heart.

    Parameters
    ----------
    network : Network
        The body, with one output for each kind.
    side : int
        Side of the pictures that it takes, pixels.
    """

    center: Tensor
    whitening: Tensor

    def __init__(self, network: Network, side: int) -> None:
        super().__init__()
        self.network = network
        self.side = side
        channels = network.head.in_features
        self.side_of_heart = nn.Linear(channels, 1)
        self.register_buffer("center", torch.zeros(channels))
        self.register_buffer("whitening", torch.eye(channels))

    def features(self, x: Tensor) -> Tensor:
        """Return pooled features, float32 [n, channels]."""
        return self.network.feature_map(x).mean(dim=(2, 3))

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the kinds, float32 [n, kinds], and of a mirrored film, float32 [n]."""
        features = self.features(x)
        return self.network.head(features), self.side_of_heart(features).squeeze(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the probability of each kind, the distance, and the probability of a mirrored film.

        Parameters
        ----------
        x : Tensor
            float32 [n, 1, side, side], grey levels 0 to 255.

        Returns
        -------
        kinds : Tensor
            float32 [n, kinds], summing to 1.
        distance : Tensor
            float32 [n]: Mahalanobis distance divided by the square root of the number of features.
        mirrored : Tensor
            float32 [n]: the probability that left and right are exchanged; it means nothing for other kinds than
            upright.
        """
        features = self.features(x)
        kinds = self.network.head(features).softmax(dim=1)
        whitened = (features - self.center) @ self.whitening
        mirrored = self.side_of_heart(features).squeeze(1).sigmoid()
        return kinds, whitened.square().mean(dim=1).sqrt(), mirrored

    def fit_distance(self, features: Tensor, shrinkage: float = 0.02) -> None:
        """Set centre and whitening from the features of good films.

        Parameters
        ----------
        features : Tensor
            float32 [films, channels].
        shrinkage : float
            Shrinkage towards a multiple of the identity, so that directions that never vary count for little.
        """
        features = features.double()
        center = features.mean(0)
        covariance = (features - center).T @ (features - center) / (len(features) - 1)
        scale = covariance.diagonal().mean()
        covariance = (1 - shrinkage) * covariance + shrinkage * scale * torch.eye(len(center), dtype=torch.float64)
        values, vectors = torch.linalg.eigh(covariance)
        self.center.copy_(center)
        self.whitening.copy_(vectors / values.sqrt())


def save_quality_gate(folder: Path, gate: QualityGateNetwork, document: Mapping[str, Any]) -> None:
    """Write a quality gate; ``judge.json`` is written last and holds the checksum of the weights."""
    sha256 = save_tensors(folder / "judge.safetensors", gate.state_dict())
    write_json(folder / "judge.json", {**document, "sha256": sha256})


def load_quality_gate(folder: Path) -> tuple[QualityGateNetwork, dict[str, Any]]:
    """Read a quality gate; return its network and the content of ``judge.json``.

    Raises
    ------
    StudyError
        If the folder holds no finished quality gate, one of an earlier version, or its files are damaged.
    """
    path = folder / "judge.json"
    if not path.is_file():
        raise StudyError(f"{folder}: no quality gate (no judge.json); `xraytransfer study quality-gate` trains one")
    document: dict[str, Any] = read_json(path)
    if "minimum_mirrored_probability" not in document:
        raise StudyError(
            f"{path}: an earlier version trained this quality gate, which tells no mirrored films; train it again"
        )
    try:
        row = Architecture.from_dict(document["row"])
        gate = empty_quality_gate(row, int(document["truncation"]), int(document["side"]))
        gate.load_state_dict(load_tensors(folder / "judge.safetensors", str(document["sha256"])))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise StudyError(f"{path}: damaged: {error}; train the quality gate again") from error
    return gate.eval(), document


def empty_quality_gate(
    architecture: Architecture,
    truncation: int,
    side: int,
    *,
    initialisation: str = "random",
    weights: Path | None = None,
) -> QualityGateNetwork:
    """Return a quality gate that has learned nothing yet; arguments as `network.build_network`.

    Raises
    ------
    StudyError
        If the architecture has a hidden layer before its head, which no truncation has removed.
    """
    network = build_network(
        architecture, outputs=len(KINDS), truncation=truncation, initialisation=initialisation, weights=weights
    )
    if network.hidden is not None:
        raise StudyError(f"{architecture.name} has a hidden layer before its head: cut at least one stage")
    return QualityGateNetwork(network, side)
