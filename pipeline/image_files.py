"""Reads and writes images and folders of numbered frames."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.errors import VideoError

Frame = NDArray[np.uint8] | NDArray[np.uint16]
"""Grey (H, W) or RGB (H, W, 3)."""

FRAME_NAME = re.compile(r"(\d+)\.(png|tiff?)", re.IGNORECASE)
"""Numbered frames: 0001.png, 17.tif."""


IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
"""Of single images."""


def numbered_frames(folder: Path) -> list[tuple[int, Path]]:
    """The frames of a folder by number; files of other names are no frames.

    Raises:
        VideoError: there are none, or two share a number.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if (name := FRAME_NAME.fullmatch(path.name)) is None:
            continue
        number = int(name[1])
        if number in found:
            raise VideoError(
                f"{folder}: {found[number].name} and {path.name} have the same number; remove one"
            )
        found[number] = path
    if not found:
        raise VideoError(
            f"{folder}: holds no frames; name them by number, such as 0001.png or 0001.tif"
        )
    return sorted(found.items())


def read_image(path: Path) -> Frame:
    """An image as stored: grey (H, W) or RGB (H, W, 3), uint8 or uint16.

    Raises:
        VideoError: the file is missing or no image.
    """
    if not path.is_file():
        raise VideoError(f"{path}: does not exist; check the path")
    return decoded_image(np.fromfile(path, np.uint8), str(path))


def decoded_image(content: NDArray[np.uint8], where: str) -> Frame:
    """The picture in the bytes of an image file: grey (H, W) or RGB (H, W, 3), uint8 or uint16.

    Args:
        content: all bytes, (N,).
        where: names the image in the message.

    Raises:
        VideoError: it is no image.
    """
    image = None
    if content.size > 0:
        with suppress(cv2.error):  # imdecode raises it for impossible sizes, else returns None
            image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise VideoError(f"{where}: is no readable 8- or 16-bit image; export it again")
    if image.ndim == 2:
        return as_frame(image)
    return as_frame(cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2RGB))


def write_image(path: Path, image: Frame) -> None:
    """Write a PNG whole or not at all.

    Args:
        path: ends in .png; its folder exists or is made.
        image: grey (H, W) or RGB (H, W, 3).

    Raises:
        OSError: it cannot be written.
    """
    stored = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".png", stored)
    with written_whole(path) as partial:
        partial.write_bytes(encoded.tobytes())


def as_frame(pixels: NDArray[Any]) -> Frame:
    """The same array, typed.

    Raises:
        TypeError: its samples are neither uint8 nor uint16.
    """
    if pixels.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"samples are {pixels.dtype}, not uint8 or uint16")
    return pixels


def as_infrared(frame: Frame) -> Frame:
    """One channel (H, W); equal channels give that channel exactly, others their BT.601 luma."""
    return frame if frame.ndim == 2 else as_frame(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))


def as_visible(frame: Frame, path: Path) -> NDArray[np.uint8]:
    """RGB (H, W, 3) of 8 bits.

    Raises:
        VideoError: the frame has 16 bits.
    """
    if frame.dtype != np.uint8:
        raise VideoError(f"{path}: visible frames must have 8 bits a channel, not 16; convert them")
    color = cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB) if frame.ndim == 2 else frame
    return np.asarray(color, np.uint8)


def read_numbered(paths: Sequence[Path]) -> Iterator[Frame]:
    """Frames of one size and type, in the order given.

    Raises:
        VideoError: a frame is unreadable or differs from the first.
    """
    first: Frame | None = None
    for path in paths:
        frame = read_image(path)
        first = frame if first is None else first
        if (frame.shape, frame.dtype) != (first.shape, first.dtype):
            raise VideoError(
                f"{path}: is {described(frame)} where {paths[0].name} is {described(first)}; "
                "all frames of a folder must be alike"
            )
        yield frame


def described(frame: Frame) -> str:
    """Size, kind and sample type of a frame, for messages."""
    height, width, *channels = frame.shape
    return f"{width}x{height} {'RGB' if channels else 'grey'} {frame.dtype}"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` that becomes `path` once all went well.

    Whatever goes wrong, nothing is left under the temporary name, and `path` is what it was.

    Raises:
        OSError: the folder cannot be made, or the file not be written out or renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}.partial.{path.name}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
