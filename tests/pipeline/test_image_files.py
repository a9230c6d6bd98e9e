"""Images and folders of numbered frames come back as they were written, or are refused."""

import resource
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.image_files import (
    Frame,
    as_infrared,
    as_visible,
    numbered_frames,
    read_image,
    read_numbered,
    write_image,
    written_whole,
)
from schemas.errors import VideoError


def noise(shape: tuple[int, ...], dtype: type[np.uint8] | type[np.uint16]) -> Frame:
    drawn: NDArray[np.uint8] | NDArray[np.uint16] = np.random.default_rng(1).integers(
        0, np.iinfo(dtype).max, shape, dtype, endpoint=True
    )
    return drawn


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3)])
def test_an_image_comes_back_exactly(
    tmp_path: Path, shape: tuple[int, ...], dtype: type[np.uint8] | type[np.uint16]
) -> None:
    image = noise(shape, dtype)

    write_image(tmp_path / "new" / "image.png", image)
    found = read_image(tmp_path / "new" / "image.png")

    assert found.dtype == dtype
    np.testing.assert_array_equal(found, image)


def test_a_red_pixel_is_red_to_other_readers(tmp_path: Path) -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200

    write_image(tmp_path / "red.png", red)

    stored = cv2.imread(str(tmp_path / "red.png"))
    assert stored is not None
    np.testing.assert_array_equal(stored[0, 0], [0, 0, 200])


def test_the_transparency_of_an_image_is_left_out(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "clear.png"), noise((5, 6, 4), np.uint8))

    assert read_image(tmp_path / "clear.png").shape == (5, 6, 3)


def test_a_tiff_of_16_bits_comes_back_exactly(tmp_path: Path) -> None:
    counts = noise((5, 6), np.uint16)
    cv2.imwrite(str(tmp_path / "0.tif"), counts)

    np.testing.assert_array_equal(read_image(tmp_path / "0.tif"), counts)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "0001.png").write_bytes(content)

    with pytest.raises(VideoError, match=r"0001\.png: is no readable .* export it again"):
        read_image(tmp_path / "0001.png")


def test_an_image_of_impossible_size_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png", noise((4, 4), np.uint8))
    content = bytearray((tmp_path / "0.png").read_bytes())
    content[16:24] = b"\x7f\xff\xff\xff" * 2
    (tmp_path / "0.png").write_bytes(content)

    with pytest.raises(VideoError, match="is no readable"):
        read_image(tmp_path / "0.png")


def test_a_missing_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="does not exist"):
        read_image(tmp_path / "0001.png")


def test_frames_are_ordered_by_number_and_not_by_name(tmp_path: Path) -> None:
    for name in ("10.png", "9.png", "011.tif", "notes.txt", "Thumbs.db"):
        (tmp_path / name).touch()

    found = [(number, path.name) for number, path in numbered_frames(tmp_path)]

    assert found == [(9, "9.png"), (10, "10.png"), (11, "011.tif")]


def test_two_frames_of_one_number_are_refused(tmp_path: Path) -> None:
    for name in ("01.png", "001.png"):
        (tmp_path / name).touch()

    with pytest.raises(VideoError, match=r"001\.png and 01\.png have the same number"):
        numbered_frames(tmp_path)


def test_a_folder_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="holds no frames; name them by number"):
        numbered_frames(tmp_path)


def test_a_frame_unlike_the_first_is_refused_by_name(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png", noise((8, 8), np.uint8))
    write_image(tmp_path / "1.png", noise((8, 9), np.uint8))

    with pytest.raises(VideoError, match=r"1\.png: is 9x8 grey uint8 where 0\.png is 8x8 grey"):
        list(read_numbered([tmp_path / "0.png", tmp_path / "1.png"]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_infrared_stored_as_three_equal_channels_loses_nothing(
    dtype: type[np.uint8] | type[np.uint16],
) -> None:
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(16, -1)
    frame: Any = np.empty((*values.shape, 3), dtype)
    frame[:] = values[..., None]

    np.testing.assert_array_equal(as_infrared(frame), values)


def test_grey_visible_gains_equal_channels_and_16_bits_are_refused(tmp_path: Path) -> None:
    grey = noise((4, 5), np.uint8)

    np.testing.assert_array_equal(as_visible(grey, tmp_path), np.stack([grey] * 3, axis=2))
    with pytest.raises(VideoError, match="must have 8 bits a channel, not 16; convert them"):
        as_visible(noise((4, 5), np.uint16), tmp_path)


def test_a_full_disk_leaves_the_old_image_and_nothing_else(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png", np.zeros((4, 4), np.uint8))
    before = (tmp_path / "0.png").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_image(tmp_path / "0.png", noise((64, 64), np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)

    assert [path.name for path in tmp_path.iterdir()] == ["0.png"]
    assert (tmp_path / "0.png").read_bytes() == before


def test_a_failure_while_writing_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with written_whole(tmp_path / "new.bin") as partial:
            partial.write_bytes(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()

    assert not list(tmp_path.iterdir())
