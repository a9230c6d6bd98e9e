"""The strict base of every schema, the shared field types, and the fingerprint of a value."""

import hashlib
import json
import re
from typing import Annotated, Literal, TypeGuard

from pydantic import BaseModel, ConfigDict, StringConstraints

FINGERPRINT_LENGTH = 32
"""Hexadecimal digits kept of a sha256: 128 bits, so that no two results meet by chance."""

Band = Literal["infrared", "visible"]
"""Of a camera and all that comes from it."""

BANDS: tuple[Band, Band] = ("infrared", "visible")

Slug = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=80),
]
"""A stable name: lower-case letters, digits, single hyphens; safe in paths and URLs."""

Version = Annotated[
    str, StringConstraints(pattern=r"^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$", max_length=40)
]
"""A release name such as v1.2.0."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

Fingerprint = Annotated[str, StringConstraints(pattern=rf"^[0-9a-f]{{{FINGERPRINT_LENGTH}}}$")]

Matrix3x3 = tuple[
    tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]
]
"""A 3x3 matrix, row major."""


OBJECT_ADDRESS = re.compile(r"(s3|gs|az)://[^/]+(/.*)?")
"""Of object stores that write a file only where none was, or in the place of one that was read."""


def is_object_address(given: object) -> TypeGuard[str]:
    """Whether it names a folder of an object store rather than one of this machine."""
    return isinstance(given, str) and OBJECT_ADDRESS.fullmatch(given) is not None


class StrictModel(BaseModel):
    """Immutable; a misspelt key is an error rather than a silent default, and no number is NaN."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, serialize_by_alias=True
    )


def canonical_json(value: object) -> str:
    """The one JSON text of a JSON-like value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(*parts: StrictModel | str | int | float | bool | None) -> str:
    """Identify what a result depends on: equal parts give equal digits, on every machine.

    Args:
        parts: schemas and plain values, in a fixed order.
    """
    plain = [p.model_dump(mode="json") if isinstance(p, StrictModel) else p for p in parts]
    return hashlib.sha256(canonical_json(plain).encode()).hexdigest()[:FINGERPRINT_LENGTH]
