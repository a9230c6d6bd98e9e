"""A release.json proves itself, also one that was written before a field was thought of."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog import Dataset, SplitRule
from schemas.errors import ReleaseError
from schemas.facts import ClipQuality
from schemas.recipe import Recipe
from schemas.release import ClipSource, Release, ReleaseClip, content_hash

FIGURES = dict.fromkeys(ClipQuality.model_fields, 0.5)


def make_release() -> Release:
    clip = ReleaseClip(
        clip="dock-000000",
        recording="dock",
        session="outing",
        rig="mast",
        site="harbour",
        split="train",
        tags=("day",),
        pairs=9,
        fps=29.97,
        width=32,
        height=24,
        fingerprint="1" * 32,
        store="clips/dock-000000/1.zarr",
        root_hash="2" * 64,
        size_bytes=1000,
        arrays={"infrared": "3" * 64},
        homography=((1, 0, 1e-7), (0, 1, -0.0), (0, 0, 1)),
        offset_s=1e16,
        drift_ppm=0.1 + 0.2,
        quality=ClipQuality(**FIGURES),
        sources={"infrared": ClipSource(path="dock.mkv", sha256="4" * 64)},
    )
    return Release(
        version="v1.0.0",
        dataset=Dataset(name="harbour", data_root="/somewhere"),
        recipe=Recipe(),
        splits=SplitRule(),
        clips=(clip,),
        rejections=(),
        statistics=None,
        root_hash="0" * 64,
    ).sealed()


def as_written(release: Release) -> dict[str, Any]:
    document = json.loads(release.model_dump_json())
    assert isinstance(document, dict)
    return document


def sealed(document: dict[str, Any]) -> bytes:
    return json.dumps(document | {"root_hash": content_hash(document)}).encode()


def test_what_is_written_is_read_back() -> None:
    release = make_release()

    assert Release.read(release.model_dump_json(indent=2).encode()) == release


def test_a_release_from_before_a_field_is_proven_by_its_own_hash() -> None:
    document = as_written(make_release())
    for name in ("rigs", "stage_versions", "files"):
        del document[name]
    for name in ("sources", "declared"):
        del document["clips"][0][name]
    del document["recipe"]["publish"]

    release = Release.read(sealed(document))

    assert release.clips[0].sources == {}
    assert release.content_hash() != release.root_hash  # hashed as it would be written today


def test_a_release_with_a_field_of_the_future_says_so() -> None:
    document = as_written(make_release()) | {"weather": "fog"}

    with pytest.raises(ReleaseError, match=r"another version of twinband: weather: .*newer one"):
        Release.read(sealed(document))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"dataset": []}',
        b'{"dataset": {}, "a": NaN}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"dataset": {}, "a": ' + b"9" * 10_000 + b"}",
    ],
    ids=range(9),
)
def test_what_is_no_release_is_refused(content: bytes) -> None:
    with pytest.raises(ReleaseError, match=r"^is no release.*bring back a copy|^was changed"):
        Release.read(content[:200_000])


WRITTEN = make_release().model_dump_json().encode()


@given(place=st.integers(0, len(WRITTEN) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_never_passes(place: int, bit: int) -> None:
    """Of the version alone can be made another one: it is checked against the folder's name."""
    changed = bytearray(WRITTEN)
    changed[place] ^= 1 << bit

    try:
        release = Release.read(bytes(changed))
    except ReleaseError:
        return
    same = release.model_copy(
        update={"version": "v1.0.0", "dataset": make_release().dataset, "files": ()}
    )
    assert same == make_release()
