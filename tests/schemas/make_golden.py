"""Writes the golden file of the clip store's layout: `make golden`."""

import json
from pathlib import Path
from typing import get_args

from schemas.store import (
    CHECKSUMS_NAME,
    CLIP_STORE,
    MANIFEST_NAME,
    PROFILES,
    SHARD_PAIRS,
    STORE_VERSION,
    ClipAttributes,
    ClipManifest,
    array_layout,
)

GOLDEN = Path(__file__).with_name("clip_store_golden.json")

PAIRS = 100
SIZES = ((480, 640), (251, 317))
"""Height and width of the pinned layouts: M3SVD's, and one that nothing divides."""


def layout() -> dict[str, object]:
    """Everything that a reader of clip stores relies on."""
    return {
        "store_version": STORE_VERSION,
        "manifest_name": MANIFEST_NAME,
        "checksums_name": CHECKSUMS_NAME,
        "shard_pairs": SHARD_PAIRS,
        "arrays": {name: spec.model_dump(mode="json") for name, spec in CLIP_STORE.items()},
        "attributes": sorted(ClipAttributes.model_fields),
        "manifest": sorted(ClipManifest.model_fields),
        "layouts": {
            f"{name} {PAIRS}x{height}x{width} {profile}": array_layout(
                name, array_shape(name, height, width), profile
            ).model_dump(mode="json")
            for name in CLIP_STORE
            for height, width in SIZES
            for profile in get_args(PROFILES)
        },
    }


def array_shape(name: str, height: int, width: int) -> tuple[int, ...]:
    """The shape of array `name` of a clip of PAIRS pairs."""
    sizes = {"time": PAIRS, "y": height, "x": width, "channel": 3}
    return tuple(sizes[axis] for axis in CLIP_STORE[name].axes)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(layout(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
