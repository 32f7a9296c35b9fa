"""Parts: the results of one shard in one Parquet file, and the columns of every Parquet file of results."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from xraytransfer.archives.manifest import arrow
from xraytransfer.archives.stores import Store, store_errors
from xraytransfer.errors import PASSING, OutputError
from xraytransfer.film_privacy import unicode_text
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.prediction import Prediction, Refusal, record_cells

if TYPE_CHECKING:
    import pyarrow

__all__ = ["PartDescription", "part_bytes", "read_part", "result_row", "results_schema"]

KEY = b"xraytransfer_results"
VERSION = 1
"""Version of the columns; it is part of a part's name."""


def results_schema() -> pyarrow.Schema:
    """Return the columns of Parquet files of results: the same for every film, whatever became of it."""
    pa = arrow()
    identifiers = [observation.identifier for observation in OBSERVATIONS]
    return pa.schema(
        [
            ("film", pa.string()),
            ("size", pa.int64()),
            ("version", pa.string()),
            ("status", pa.string()),
            *((name, pa.float32()) for name in identifiers),
            *((f"{name}_decision", pa.bool_()) for name in identifiers),
            *((f"{name}_spread", pa.float32()) for name in identifiers),
            ("view_position", pa.string()),
            ("provider", pa.string()),
            ("model", pa.string()),
            ("model_sha256", pa.string()),
            ("message", pa.string()),
            ("window", pa.string()),
            ("reduction", pa.int32()),
            ("notes", pa.string()),
            ("quality_gate_kind", pa.string()),
            ("quality_gate_distance", pa.float32()),
            ("near_threshold", pa.string()),
        ]
    )


def result_row(result: Prediction | Refusal) -> dict[str, Any]:
    """Return one film's result as a row of `results_schema`; columns that do not apply are absent.

    The column ``status`` is ``ok``, or the reason of a refusal: a key of `xraytransfer.errors.REASONS`.
    """
    view = (result.radiograph or {}).get("view_position")
    row = {"film": unicode_text(result.source), "view_position": view, **record_cells(result)}
    if isinstance(result, Refusal):
        return {**row, "status": result.reason, "message": unicode_text(" ".join(result.message.split()))}
    for observation, probability, decision, spread in zip(
        OBSERVATIONS, result.probability, result.decision, result.spread, strict=True
    ):
        row[observation.identifier] = float(probability)
        row[f"{observation.identifier}_decision"] = decision
        row[f"{observation.identifier}_spread"] = float(spread)
    model = result.model
    scored = {"provider": result.provider, "model": f"{model.name} {model.version}", "model_sha256": model.sha256}
    return {**row, **scored, "status": "ok", "message": result.doubt}


@dataclass(frozen=True)
class PartDescription:
    """What a part was made of; parts of the same description hold the same rows.

    Attributes
    ----------
    shard, shards : int
        Number of the shard, counted from 1, and of all shards.
    rows_sha256 : str
        Checksum of the manifest's rows.
    model_sha256 : str
        Checksum of the model: of all that changes a number or a decision.
    options : dict
        Options that change a result, or what a row holds.
    """

    shard: int
    shards: int
    rows_sha256: str
    model_sha256: str
    options: dict[str, Any]

    def name(self, *, pending: bool = False) -> str:
        """Return the file name: number of the shard, and a checksum over everything that the part was made of."""
        document = json.dumps([VERSION, asdict(self)], sort_keys=True)
        mark = hashlib.sha256(document.encode()).hexdigest()[:16]
        kind = "pending" if pending else "part"
        return f"{kind}-{self.shard:06d}-of-{self.shards:06d}-{mark}.parquet"


def part_bytes(description: PartDescription, rows: Sequence[dict[str, Any]]) -> bytes:
    """Return a part as the bytes of a Parquet file: the same bytes for the same rows."""
    pa = arrow()
    metadata = {KEY: json.dumps({"version": VERSION, **asdict(description)}, sort_keys=True).encode()}
    table = pa.Table.from_pylist(list(rows), schema=results_schema().with_metadata(metadata))
    buffer = io.BytesIO()
    pa.parquet.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def read_part(store: Store) -> tuple[PartDescription, Any]:
    """Return a part's description and its rows, as a pyarrow table.

    Raises
    ------
    OutputError
        The file cannot be read, or is no part.
    """
    pa = arrow()
    with store_errors(store.address):
        data = store.read_bytes()
    try:
        file = pa.parquet.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        table = file.read(use_threads=False)
        document = json.loads(table.schema.metadata[KEY])
        version = document.pop("version")
        if version == VERSION and not table.schema.equals(results_schema()):
            raise ValueError("other columns")
        if version == VERSION:
            return PartDescription(**document), table
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise OutputError(f"{store.address}: no part of an archive's results, or damaged; delete it") from error
    raise OutputError(f"{store.address}: written by another version of xraytransfer; use that one, or delete it")


def is_passing(row: dict[str, Any]) -> bool:
    """Return whether a row is a refusal that may pass, so that the film is to be tried again."""
    return row["status"] in PASSING
