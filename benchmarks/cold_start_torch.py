"""The PyTorch script that `cold_start.py` measures against; also makes its members' weights.

python cold_start_torch.py --make MODEL.onnx members.pt     # random weights in the shapes of MODEL's members
python cold_start_torch.py FILM members.pt                  # score FILM
"""

from __future__ import annotations

import sys


def make(model: str, path: str) -> None:
    """Write networks shaped like a model file's members."""
    import torch

    from xraytransfer.model_file import describe
    from xraytransfer.study.networks.architectures import ARCHITECTURES
    from xraytransfer.study.networks.network import build_network

    description = describe(model)
    rows = {row.name: row for row in ARCHITECTURES}
    members = []
    for member in description.members:
        network = build_network(
            rows[member["architecture"]], outputs=6, truncation=member["truncation"], initialisation="random"
        )
        members.append((member["architecture"], member["truncation"], network.state_dict()))
    torch.save({"members": members, "resolution": description.resolution}, path)


def score(film: str, path: str) -> None:
    """Read, window, resize and score one film as a script of a few lines does."""
    import numpy as np
    import pydicom
    import torch
    from PIL import Image
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    from xraytransfer.study.networks.architectures import ARCHITECTURES
    from xraytransfer.study.networks.network import build_network

    stored = torch.load(path, weights_only=True)
    rows = {row.name: row for row in ARCHITECTURES}
    networks = []
    for name, truncation, state in stored["members"]:
        network = build_network(rows[name], outputs=6, truncation=truncation, initialisation="random")
        network.load_state_dict(state)
        networks.append(network.eval())
    dataset = pydicom.dcmread(film)
    picture = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(np.float32)
    picture = (picture - picture.min()) / (picture.max() - picture.min()) * 255
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        picture = 255 - picture
    small = Image.fromarray(picture.astype(np.uint8)).resize(stored["resolution"][::-1], Image.Resampling.BILINEAR)
    batch = torch.from_numpy(np.asarray(small, np.float32))[None, None]
    with torch.inference_mode():
        print(torch.stack([torch.sigmoid(network(batch)) for network in networks]).mean(0))


if __name__ == "__main__":
    if sys.argv[1] == "--make":
        make(sys.argv[2], sys.argv[3])
    else:
        score(sys.argv[1], sys.argv[2])
