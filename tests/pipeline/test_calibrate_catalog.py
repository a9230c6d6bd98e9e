"""A lens gets into a catalog without touching anything else in it."""

import difflib
from typing import Literal

import pytest
from ruamel.yaml import YAML

from pipeline.calibrate_catalog import with_lens
from schemas.catalog import CatalogFile, Lens
from schemas.errors import CatalogError

LENS = Lens(fx=343.028, fy=343.0496, cx=160.8855, cy=126.5328, k1=-0.1101585, p1=0.0000004)
LINE = (
    "lens: {fx: 343.028, fy: 343.0496, cx: 160.8855, cy: 126.5328, k1: -0.1101585, p1: 0.0000004}"
)

CATALOG = """\
# Our harbour.
dataset: {name: harbour, data_root: footage}

rigs:
- id: mast   # on the roof
  infrared:
    width: 320
    height: 256   # after cropping
  # the colour one
  visible:
    width: 640
    height: 480
    lens:
      fx: 500.0
      fy: 500.0   # by the data sheet
      cx: 320
      cy: 240
  # that was the mast
- id: van
  infrared: {width: 160, height: 120}   # small
  visible: {lens: {fx: 1, fy: 1, cx: 1, cy: 1}, width: 640, height: 480}
sessions: []
"""


def changes(before: str, after: str) -> list[str]:
    lines = difflib.ndiff(before.splitlines(keepends=True), after.splitlines(keepends=True))
    return [line.rstrip("\r\n") for line in lines if line[0] in "+-"]


def lens_in(text: str, rig: int, band: Literal["infrared", "visible"]) -> Lens | None:
    rigs = CatalogFile.model_validate(YAML(typ="safe").load(text)).rigs
    return (rigs[rig].infrared if band == "infrared" else rigs[rig].visible).lens


def test_a_camera_without_a_lens_gains_one_line() -> None:
    written = with_lens(CATALOG, "mast", "infrared", LENS, file="catalog.yaml")

    assert changes(CATALOG, written) == [f"+     {LINE}"]
    assert "    height: 256   # after cropping\n    lens: {" in written
    assert lens_in(written, 0, "infrared") == LENS


def test_a_lens_on_many_lines_is_replaced() -> None:
    written = with_lens(CATALOG, "mast", "visible", LENS, file="catalog.yaml")

    assert lens_in(written, 0, "visible") == LENS
    assert f"    height: 480\n    {LINE}\n  # that was the mast\n" in written
    assert "500.0" not in written


@pytest.mark.parametrize("band", ["infrared", "visible"])
def test_a_camera_on_one_line_stays_on_it(band: Literal["infrared", "visible"]) -> None:
    written = with_lens(CATALOG, "van", band, LENS, file="catalog.yaml")

    assert len(changes(CATALOG, written)) == 2
    assert lens_in(written, 1, band) == LENS
    assert written.count("# small") == 1


def test_calibrating_again_changes_that_line_alone() -> None:
    once = with_lens(CATALOG, "mast", "infrared", LENS, file="catalog.yaml")

    twice = with_lens(once, "mast", "infrared", Lens(fx=1, fy=2, cx=3, cy=4), file="catalog.yaml")

    assert with_lens(once, "mast", "infrared", LENS, file="catalog.yaml") == once
    assert changes(CATALOG, twice) == ["+     lens: {fx: 1.0, fy: 2.0, cx: 3.0, cy: 4.0}"]


@pytest.mark.parametrize("empty", ["lens:", "lens: null", "lens: ~   # to be done"])
def test_an_empty_lens_is_filled(empty: str) -> None:
    catalog = CATALOG.replace("256   # after cropping", f"256\n    {empty}")

    written = with_lens(catalog, "mast", "infrared", LENS, file="catalog.yaml")

    assert lens_in(written, 0, "infrared") == LENS
    assert ("# to be done" in written) == ("# to be done" in empty)


def test_line_ends_of_windows_are_kept() -> None:
    catalog = CATALOG.replace("\n", "\r\n")

    written = with_lens(catalog, "mast", "infrared", LENS, file="catalog.yaml")

    assert lens_in(written, 0, "infrared") == LENS
    assert written.count("\n") == written.count("\r\n")


def test_a_file_without_a_last_line_end_is_extended() -> None:
    catalog = (
        "dataset: {name: harbour}\nsessions: []\nrigs:\n  - id: mast\n"
        "    visible: {width: 64, height: 48}\n    infrared:\n      width: 64\n      height: 48"
    )

    written = with_lens(catalog, "mast", "infrared", LENS, file="catalog.yaml")

    assert written == f"{catalog}\n      {LINE}"


def test_a_camera_that_two_rigs_share_is_not_changed_behind_their_backs() -> None:
    catalog = CATALOG.replace(
        "infrared: {width: 160, height: 120}", "infrared: &same {width: 160, height: 120}"
    ).replace(
        "visible: {lens: {fx: 1, fy: 1, cx: 1, cy: 1}, width: 640, height: 480}", "visible: *same"
    )

    with pytest.raises(CatalogError, match=r"rigs\[1\]\.visible: .*write it there yourself: lens:"):
        with_lens(catalog, "van", "visible", LENS, file="catalog.yaml")
