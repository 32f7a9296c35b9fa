"""What `serve_http.py` compares with: the server that one writes in an afternoon, FastAPI around torch.

One film a request, read with pydicom, resized with Pillow, scored by each member in turn; no batches, no queue.
It reads no VOI LUT, inverts nothing and refuses nothing, so it does less than xraytransfer for every film. The
networks' weights are random: they do not change how long a run takes.
"""

from __future__ import annotations

import argparse
import io

import fastapi
import numpy as np
import pydicom
import torch
import uvicorn
from PIL import Image

from xraytransfer.study.networks.architectures import find_architecture
from xraytransfer.study.networks.network import build_network


def create_app(architectures: list[str], resolution: int, device: str) -> fastapi.FastAPI:
    """Return the application."""
    members = [
        build_network(find_architecture(name), outputs=6, initialisation="random").eval().to(device)
        for name in architectures
    ]
    app = fastapi.FastAPI()

    @app.post("/predict")
    def predict(file: bytes = fastapi.File()) -> dict[str, list[float]]:
        film = pydicom.dcmread(io.BytesIO(file))
        pixels = film.pixel_array.astype(np.float32)
        low, width = float(film.WindowCenter) - float(film.WindowWidth) / 2, float(film.WindowWidth)
        grey = (np.clip((pixels - low) / width, 0, 1) * 255).astype(np.uint8)
        small = Image.fromarray(grey).resize((resolution, resolution), Image.Resampling.BILINEAR)
        image = torch.from_numpy(np.asarray(small, np.float32))[None, None].to(device)
        with torch.inference_mode():
            probability = torch.stack([torch.sigmoid(member(image)) for member in members]).mean(0)
        return {"probability": probability[0].tolist()}

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, required=True)
    parser.add_argument("--device", default="cpu", help="of torch (default: cpu)")
    parser.add_argument("--members", nargs="+", required=True, help="architectures")
    arguments = parser.parse_args()
    uvicorn.run(
        create_app(arguments.members, arguments.resolution, arguments.device),
        port=0,
        log_level="info",
        access_log=False,
    )
