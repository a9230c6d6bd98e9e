"""Reads raw files: grey frames one after the other, of a geometry that somebody declared."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.image_files import Frame, as_frame
from pipeline.stream_probe import StreamProbe
from schemas.errors import VideoError
from schemas.layouts import RawLayout


def probe_raw(path: Path, raw: RawLayout, fps: float | None) -> StreamProbe:
    """What a raw file holds if it is laid out like that; nothing but its size can speak against it.

    Raises:
        VideoError: it is missing or empty, or its size is no whole number of such frames.
    """
    frames = _count(path, raw)
    return StreamProbe(
        container="raw file",
        codec="rawvideo",
        pixel_format="gray" if raw.bits == 8 else f"gray16{raw.endianness[0]}e",
        color_range="full",
        width=raw.width,
        height=raw.height,
        bit_depth=raw.bits,
        times_s=np.arange(frames) / (fps or 1.0),
        time_source="declared",
        is_lossless=True,
    )


def read_raw(path: Path, raw: RawLayout, start: int, stop: int | None) -> Iterator[Frame]:
    """Frames `start` to before `stop`, (H, W) of uint8 or uint16, one after the other.

    Raises:
        VideoError: as `probe_raw`.
    """
    frames = _count(path, raw)
    stored = np.dtype(np.uint8 if raw.bits == 8 else "<u2" if raw.endianness == "little" else ">u2")
    with path.open("rb") as file:
        for index in range(start, frames if stop is None else min(stop, frames)):
            file.seek(raw.header_bytes + index * raw.frame_bytes + raw.frame_header_bytes)
            samples = np.fromfile(file, stored, raw.width * raw.height)
            if samples.size < raw.width * raw.height:
                raise VideoError(f"{path}: became shorter while it was read; copy it again")
            yield as_frame(samples.astype(stored.newbyteorder("=")).reshape(raw.height, raw.width))


def _count(path: Path, raw: RawLayout) -> int:
    """The number of frames in the file."""
    if not path.is_file():
        raise VideoError(f"{path}: is no file; a raw layout describes one file of frames")
    size_bytes = path.stat().st_size
    frames, rest = divmod(size_bytes - raw.header_bytes, raw.frame_bytes)
    if frames < 1:
        raise VideoError(
            f"{path}: has {size_bytes} bytes, less than one {raw.width}x{raw.height} frame of "
            f"{raw.bits} bits ({raw.header_bytes + raw.frame_bytes}); copy it again or mend layouts"
        )
    if rest:
        raise VideoError(
            f"{path}: holds {frames} {raw.width}x{raw.height} frames of {raw.bits} bits and "
            f"{rest} bytes more: it is cut short, or laid out otherwise; copy it again or mend "
            "layouts"
        )
    return frames
