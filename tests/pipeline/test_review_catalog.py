"""A reviewer's decisions get into a catalog without touching anything else in it."""

import difflib
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipeline.catalog_text import flow, plain, with_member, without_member
from pipeline.review_catalog import run_change, run_find
from schemas.catalog import Review
from schemas.errors import CatalogError

CATALOG = """\
# Our harbour.
dataset: {name: harbour}
rigs:
  - {id: mast, infrared: {width: 64, height: 48}, visible: {width: 64, height: 48}}
sessions:
  - sessions/spring.yaml   # a file of its own
  - id: autumn
    rig: mast
    recordings:
      # the first of the day
      - id: quay
        site: harbour
        infrared: quay-ir.mkv   # 16 bits
        visible: quay.mp4
        tags: [day]   # at noon
        offset_s: 0.25
        review:
          decision: reject
          reason: "out of focus"

      - {id: pier, site: pier, infrared: pier-ir.mkv, visible: pier.mp4, offset_s: 0.5}
"""

SESSION = """\
id: spring   # the first one
rig: mast
recordings:
- offset_s: 1.5
  id: roof
  site: roof
  infrared: roof-ir.mkv
  visible: roof.mp4
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "spring.yaml").write_text(SESSION)
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    return tmp_path / "catalog.yaml"


def changed(before: str, after: str) -> list[str]:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if line[0] in "+-"]


def test_accepting_replaces_a_review_on_many_lines_and_keeps_comments(catalog: Path) -> None:
    now = run_change(catalog, "quay", {"review": {"decision": "accept"}})

    assert now.review == Review(decision="accept")
    assert sorted(changed(CATALOG, catalog.read_text())) == [
        "+         review: {decision: accept}",
        "-           decision: reject",
        '-           reason: "out of focus"',
        "-         review:",
    ]


def test_a_field_that_is_new_is_one_line_more(catalog: Path) -> None:
    run_change(
        catalog, "quay", {"leave_out": [{"from_s": 0.0, "to_s": 1.5, "reason": "a hand: mine"}]}
    )

    assert changed(CATALOG, catalog.read_text()) == [
        '+         leave_out: [{from_s: 0.0, to_s: 1.5, reason: "a hand: mine"}]'
    ]


def test_several_fields_change_at_once_on_one_line(catalog: Path) -> None:
    now = run_change(catalog, "pier", {"offset_s": None, "tags": ["night", "low-light"]})

    assert (now.offset_s, now.tags) == (None, ("night", "low-light"))
    assert "visible: pier.mp4, tags: [night, low-light]}" in catalog.read_text()


def test_a_recording_in_a_session_s_own_file_is_changed_there(catalog: Path) -> None:
    now = run_change(catalog, "roof", {"offset_s": None, "review": {"decision": "accept"}})

    assert now.offset_s is None
    assert catalog.read_text() == CATALOG
    assert changed(SESSION, (catalog.parent / "sessions/spring.yaml").read_text()) == [
        "- - offset_s: 1.5",
        "+ - offset_s: null",
        "+   review: {decision: accept}",
    ]


def test_a_change_that_makes_no_sense_is_refused_and_nothing_is_written(catalog: Path) -> None:
    with pytest.raises(CatalogError, match=r"a rejection needs a reason"):
        run_change(catalog, "quay", {"review": {"decision": "reject"}})
    with pytest.raises(CatalogError, match=r"has no recording gone"):
        run_change(catalog, "gone", {"offset_s": 1.0})

    assert catalog.read_text() == CATALOG
    assert sorted(path.name for path in catalog.parent.iterdir()) == ["catalog.yaml", "sessions"]


def test_what_two_recordings_share_is_not_changed_behind_their_backs(catalog: Path) -> None:
    text = CATALOG.replace("tags: [day]", "tags: &all [day]").replace(
        "offset_s: 0.5}", "offset_s: 0.5, tags: *all}"
    )
    catalog.write_text(text)

    with pytest.raises(CatalogError, match=r"sessions\[1\].recordings\[0\] is written in a way"):
        run_change(catalog, "quay", {"tags": ["night"]})

    assert catalog.read_text() == text


def test_a_catalog_keeps_who_may_read_it(catalog: Path) -> None:
    catalog.chmod(0o640)

    run_change(catalog, "quay", {"offset_s": 0.75})

    assert stat.S_IMODE(catalog.stat().st_mode) == 0o640


def test_line_ends_of_windows_are_kept(catalog: Path) -> None:
    catalog.write_bytes(CATALOG.replace("\n", "\r\n").encode())

    run_change(catalog, "quay", {"homography": [[1.0, 0.0, 2.5], [0.0, 1.0, 0.0], [0, 0, 1]]})
    run_change(catalog, "quay", {"offset_s": None})

    text = catalog.read_bytes().decode()
    assert text.count("\n") == text.count("\r\n")
    assert "homography: [[1.0, 0.0, 2.5], [0.0, 1.0, 0.0], [0, 0, 1]]" in text


def test_where_a_recording_stands_is_found(catalog: Path) -> None:
    assert run_find(catalog, "pier")[0].place == ("sessions", 1, "recordings", 1)
    assert run_find(catalog, "roof")[0].path.name == "spring.yaml"


values: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(-1e4, 1e4).map(lambda value: round(value, 6))
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "from_s"]), inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


@given(values)
def test_any_value_is_read_back_from_one_line(value: Any) -> None:
    text = with_member("kept: 1  # yes\nother: {a: 1}\n", (), "added", flow(value))

    assert text is not None
    assert plain(text) == {"kept": 1, "other": {"a": 1}, "added": value}
    assert "# yes" in text


@given(st.permutations(["one", "two", "three"]), st.sampled_from(["one", "two", "three"]))
def test_a_member_goes_and_the_others_stay(order: list[str], gone: str) -> None:
    block = "".join(f"{name}: [1, 2]  # {name}\n" for name in order)
    line = "{" + ", ".join(f"{name}: [1, 2]" for name in order) + "}\n"

    for text in (block, line):
        left = without_member(text, (), gone)

        assert left is not None
        assert YAML(typ="safe").load(left) == {name: [1, 2] for name in order if name != gone}
