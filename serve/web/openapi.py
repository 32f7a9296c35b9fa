"""OpenAPI: the document that describes the HTTP interface, version 3.1."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from typing import Any

from xraytransfer.constants import DECODING, RESEARCH_NOTICE
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.serve.web.problems import MEDIA_TYPE as PROBLEM_TYPE
from xraytransfer.serve.web.problems import PROBLEMS
from xraytransfer.serve.web.uploads import MEDIA_TYPES

__all__ = ["openapi_document"]

_IDENTIFIERS = [observation.identifier for observation in OBSERVATIONS]
_PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1}
_PNG = {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}


@lru_cache(maxsize=1)
def openapi_document() -> dict[str, Any]:
    """Return the document, ready for JSON. Its schemas are JSON Schema 2020-12."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "xraytransfer",
            "version": version("xraytransfer"),
            "summary": "Six probabilities for a frontal chest radiograph.",
            "description": RESEARCH_NOTICE,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            "/v1/predict": {"post": _predict()},
            "/v1/sr": {"post": _structured_report()},
            "/v1/model": {"get": _get("Say which model runs, on what, within which limits", "Model", token=True)},
            "/healthz": {"get": _get("Say that the process lives", "Health")},
            "/readyz": {"get": _get("Say whether films are scored, by a scored film", "Ready", 503)},
            "/metrics": {
                "get": {
                    **_get("Metrics for Prometheus", None, token=True),
                    "responses": {"200": {"description": "Counted", "content": {"text/plain": {}}}},
                }
            },
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
            "responses": {
                "Problem": {
                    "description": "Refused",
                    "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "With 503: seconds"}},
                    "content": {PROBLEM_TYPE: {"schema": _ref("Problem")}},
                }
            },
        },
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _problems(*statuses: int) -> dict[str, Any]:
    return {str(status): {"$ref": "#/components/responses/Problem"} for status in statuses}


def _films() -> dict[str, Any]:
    return {kind: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA_TYPES}


def _get(summary: str, schema: str | None, *problems: int, token: bool = False) -> dict[str, Any]:
    content = {"application/json": {"schema": _ref(schema)}} if schema else {}
    return {
        "summary": summary,
        "operationId": summary.split(maxsplit=1)[0].lower() + (schema or "Metrics"),
        "security": [{"token": []}, {}] if token else [],
        "responses": {
            "200": {"description": "OK", "content": content},
            **_problems(*problems, *([401, 429] if token else [])),
        },
    }


def _predict() -> dict[str, Any]:
    return {
        "summary": "Score one film, or many",
        "operationId": "predict",
        "description": "One film is the body itself. Many are the parts of a multipart body: scored while the rest "
        "arrives, answered in their order, each with its own status; a refused film does not stop the others.",
        "security": [{"token": []}, {}],
        "parameters": [
            {
                **_query(
                    "map", "Activation maps: `all` or observations, as pictures over the film; `values` as numbers."
                ),
                "schema": {"type": "array", "items": {"enum": ["all", "values", *_IDENTIFIERS]}},
                "explode": False,  # map=edema,cardiomegaly
            },
            {
                **_query("picture", "Add the film as it was read: its longer side in pixels, 64 to 4096."),
                "schema": {"type": "integer", "minimum": 64, "maximum": 4096},
            },
            _query("any_modality", "`true`: score a film that its header does not describe as a chest radiograph."),
            _query("any_film", "`true`: score a film that the model's quality gate refuses."),
            _decode("Resolution of decoding; the server's setting where absent, full with map or picture."),
        ],
        "requestBody": {
            "required": True,
            "content": {
                **_films(),
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "film": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}
                        },
                    }
                },
            },
        },
        "responses": {
            "200": {
                "description": "Scored",
                "content": {
                    "application/json": {"schema": {"oneOf": [_ref("Prediction"), _ref("Predictions")]}},
                },
            },
            **_problems(400, 401, 403, 408, 413, 415, 422, 429, 503, 504),
        },
    }


def _query(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "boolean"}}


def _decode(description: str) -> dict[str, Any]:
    return {**_query("decode", description), "schema": {"enum": list(DECODING)}}


def _structured_report() -> dict[str, Any]:
    report = {"application/dicom": {"schema": {"type": "string", "format": "binary"}}}
    return {
        "summary": "Score one DICOM film and answer with a DICOM SR (TID 1500)",
        "operationId": "structuredReport",
        "security": [{"token": []}, {}],
        "parameters": [
            *(_query(name, "As for `/v1/predict`.") for name in ("any_modality", "any_film")),
            _decode("Resolution of decoding; the server's setting where absent."),
        ],
        "requestBody": {"required": True, "content": report},
        "responses": {
            "200": {"description": "The report, a DICOM file", "content": report},
            **_problems(400, 401, 403, 408, 413, 415, 422, 429, 503, 504),
        },
    }


_FILM_RECORD = {
    "overruled_by": {
        "type": ["string", "null"],
        "description": "Of a refused film: the query parameter that has it scored anyway; null without one",
    },
    "radiograph": {"type": ["object", "null"], "description": "Of a refused film: what was read, as far as it came"},
    "acceptance": {"type": ["object", "null"], "description": "Of a refused film: what the quality gate found"},
}


def _schemas() -> dict[str, Any]:
    refusal = {
        "index": {"type": "integer"},
        "status": {"type": "integer"},
        "ok": {"const": False},
        "reason": {"enum": list(PROBLEMS)},
        "message": {"type": "string"},
    }
    problem = {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "reason": {"enum": list(PROBLEMS)},
    }
    return {
        "Prediction": _prediction(),
        "Refusal": _object(refusal, _FILM_RECORD),
        "Predictions": _object(
            {"results": {"type": "array", "items": {"oneOf": [_ref("Prediction"), _ref("Refusal")]}}}
        ),
        "Problem": {**_object(problem, _FILM_RECORD), "description": "RFC 9457"},
        "Model": _object(
            {
                "model": {"type": "object", "description": "The model file's own metadata"},
                "sha256": {"type": "string", "description": "Checksum of all that a result depends on"},
                "provider": {"type": "string"},
                "media_types": {"type": "array", "items": {"type": "string"}},
                "limits": {"type": "object", "additionalProperties": {"type": "number"}},
                "notice": {"type": "string"},
            }
        ),
        "Health": _object({"alive": {"const": True}}),
        "Ready": _object({"ready": {"const": True}, "provider": {"type": "string"}, "film": {"type": "string"}}),
    }


def _prediction() -> dict[str, Any]:
    observation = {
        "identifier": {"enum": _IDENTIFIERS},
        "name": {"type": "string"},
        "probability": {**_PROBABILITY, "description": "Calibrated, of the ensemble"},
        "raw_probability": {**_PROBABILITY, "description": "Mean over members, not calibrated"},
        "member_probability": {
            "type": "array",
            "items": _PROBABILITY,
            "minItems": 1,
            "description": "Of each member, calibrated like the ensemble's",
        },
        "spread": {"type": "number", "minimum": 0, "description": "Standard deviation over calibrated members"},
        "threshold": {"type": ["number", "null"], "description": "Of the operating point; null without one"},
        "decision": {"type": ["boolean", "null"], "description": "Whether the probability reaches the threshold"},
        "near_threshold": {
            "type": ["boolean", "null"],
            "description": "Whether a small change of the film may flip the decision; null where the model cannot say",
        },
    }
    prediction = {
        "source": {"type": "string"},
        "ok": {"const": True},
        "observations": {"type": "array", "items": _object(observation), "minItems": 6, "maxItems": 6},
        "operating_point": {"type": ["string", "null"]},
        "acceptance": {
            "type": ["object", "null"],
            "description": "The answer of the model's quality gate; null where the model has none",
        },
        "radiograph": {"type": "object", "description": "What the film was, and what was done to its pixels"},
        "model": _object({name: {"type": "string"} for name in ("name", "version", "sha256")}),
        "provider": {"type": "string", "description": "The execution provider that ran"},
        "notice": {"type": "string"},
    }
    grid = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
    extras = {
        "index": {"type": "integer", "description": "In a multipart answer: the part"},
        "status": {"type": "integer", "description": "In a multipart answer: the film's own"},
        "picture": _object({"rows": {"type": "integer"}, "columns": {"type": "integer"}, "png": _PNG}),
        "maps": {"type": "object", "additionalProperties": _PNG},
        "activation_map": {"type": "object", "additionalProperties": grid, "description": "Logits, rows of columns"},
    }
    return {**_object(prediction), "properties": {**prediction, **extras}}


def _object(properties: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a schema in which every property is there."""
    return {"type": "object", "properties": {**properties, **(optional or {})}, "required": list(properties)}
