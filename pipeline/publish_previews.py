"""What a clip looks like: a small picture and a short video, both bands side by side."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.clip_stores import open_clip, read_pairs
from pipeline.pictures import jpeg, scaled
from pipeline.video_encoding import write_video
from pipeline.workspace import Workspace
from schemas.base import BANDS
from schemas.release import Release, ReleaseClip
from schemas.store import CHUNK_PAIRS

FOLDER = "previews"
"""Below the root of a release."""

BAND_WIDTH_PX = 240
"""Two bands fit a column of the Hub's viewer, and a video of 60 pairs takes about 60 kB."""

VIDEO_QUALITY = 28
"""H.264's constant rate factor: what was filmed is recognised, noise is not kept."""


def picture_path(clip: ReleaseClip) -> str:
    """Where the picture of a clip lies, below the root of a release."""
    return f"{FOLDER}/{clip.clip}.{clip.fingerprint}.jpg"


def video_path(clip: ReleaseClip) -> str:
    """Where the video of a clip lies, below the root of a release."""
    return f"{FOLDER}/{clip.clip}.{clip.fingerprint}.mp4"


def preview_frame(infrared: NDArray[np.uint8], visible: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Both bands of one instant side by side, each BAND_WIDTH_PX wide.

    Args:
        infrared: (H, W).
        visible: RGB, (H, W, 3).

    Returns:
        RGB, (h, 2 * BAND_WIDTH_PX, 3), h even.
    """
    bands = [scaled(frame, BAND_WIDTH_PX, multiple=2) for frame in (infrared, visible)]
    return np.concatenate(bands, axis=1)


def run_previews(release: Release, workspace: Workspace, folder: Path) -> None:
    """Write the previews of every clip into the folder of a release being made.

    Those that an older release of the workspace has are taken from there.

    Raises:
        StoreError: a clip store is missing or damaged.
        VideoError: the disk is full or failing.
        OSError: the same.
    """
    pairs = release.recipe.publish.preview_pairs
    if not pairs:
        return
    (folder / FOLDER).mkdir()
    older = {path.name: path for path in workspace.root.glob(f"releases/*/{FOLDER}/*")}
    for clip in release.clips:
        picture, video = (folder / path(clip) for path in (picture_path, video_path))
        if picture.name in older and video.name in older:
            for path in (picture, video):
                shutil.copyfile(older[path.name], path)
            continue
        middle = clip.pairs // 2
        with workspace.at_hand(clip.store) as store:
            group, _ = open_clip(store)
            (shown,) = _run_frames(group, middle, middle + 1)
            picture.write_bytes(jpeg(shown))
            frames = _run_frames(group, 0, min(pairs, clip.pairs))
            write_video(video, frames, fps=clip.fps, codec="h264", crf=VIDEO_QUALITY)


def _run_frames(group: zarr.Group, first: int, end: int) -> Iterator[NDArray[np.uint8]]:
    """Preview frames of pairs `first` to `end` - 1 of an open clip."""
    for start in range(first, end, CHUNK_PAIRS):
        block = (start, min(start + CHUNK_PAIRS, end))
        infrared, visible = (read_pairs(group, band, *block) for band in BANDS)
        for pair in zip(infrared, visible, strict=True):
            yield preview_frame(*pair)
