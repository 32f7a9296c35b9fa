"""An Orthanc on loopback, with its DICOMweb plugin, for tests."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from peers import free_port, wait_for

WEB_PLUGINS = [
    Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so"),
    Path("/usr/share/orthanc/plugins/libOrthancGdcm.so"),
]


class Orthanc:
    """An Orthanc of our own: its folder, its ports."""

    def __init__(self, folder: Path) -> None:
        self.port, self.web_port, self._folder = free_port(), free_port(), folder
        self.root = f"http://127.0.0.1:{self.web_port}"
        settings = {
            "StorageDirectory": str(folder),
            "IndexDirectory": str(folder),
            "HttpPort": self.web_port,
            "DicomPort": self.port,
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowFind": True,
            "Plugins": [str(path) for path in WEB_PLUGINS if path.is_file()],
        }
        folder.mkdir()
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(["Orthanc", str(self._folder / "orthanc.json")], stdout=log, stderr=log)
        wait_for(self._answers)

    def _answers(self) -> bool:
        try:
            return bool(self.ask("/system"))
        except OSError:
            return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(self.root + path, timeout=20) as answer:
            return json.load(answer)

    def instances(self, study_uid: str, modality: str | None = None) -> list[str]:
        """Return the SOP Instance UIDs that an examination holds."""
        query = f"/dicom-web/instances?StudyInstanceUID={study_uid}"
        rows = self.ask(query + (f"&Modality={modality}" if modality else ""))
        return sorted(row["00080018"]["Value"][0] for row in rows)
