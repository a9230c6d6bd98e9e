"""Reads the times that a camera logs beside its frames."""

import csv
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.errors import VideoError

TIMESTAMP_COLUMNS = ["frame", "time_s"]


def read_timestamps(path: Path) -> NDArray[np.float64]:
    """The times of a `frame,time_s` file, one row per recorded frame from 0, (T,) seconds.

    Raises:
        VideoError: it is missing, a line is not of that form, or the times do not increase; names
            the line.
    """
    if not path.is_file():
        raise VideoError(f"{path}: does not exist; check the path")
    times_s: list[float] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            if [column.strip() for column in header] != TIMESTAMP_COLUMNS:
                raise VideoError(
                    f"{path}: line 1: the columns are {','.join(header)!r}, not 'frame,time_s'; "
                    "write that line first"
                )
            for row in filter(None, rows):
                times_s.append(_timestamp(row, times_s, f"{path}: line {rows.line_num}"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise VideoError(f"{path}: is no CSV text: {error}; export it again") from error
    return np.array(times_s)


def _timestamp(row: list[str], before_s: list[float], where: str) -> float:
    try:
        frame, time_s = int(row[0]), float(row[1])
    except (ValueError, IndexError) as error:
        raise VideoError(
            f"{where}: {','.join(row)!r} is not a frame number and a time; mend it"
        ) from error
    if frame != len(before_s):
        raise VideoError(
            f"{where}: frame {frame} where frame {len(before_s)} should stand; mend it"
        )
    if not math.isfinite(time_s):
        raise VideoError(f"{where}: time_s is {time_s}; give seconds")
    if before_s and time_s <= before_s[-1]:
        raise VideoError(
            f"{where}: time_s {time_s} does not increase over {before_s[-1]}; mend the clock's log"
        )
    return time_s
