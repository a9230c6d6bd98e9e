"""Card and index: the Hub finds the rows, and nobody's text becomes markup."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipeline.publish import run_release
from pipeline.publish_card import escaped, size_category
from tests.pipeline.studio import (
    FPS,
    HOMOGRAPHY,
    PAIRS,
    SITES,
    Studio,
)


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path, list(SITES))


def test_the_index_has_a_typed_row_per_clip(studio: Studio) -> None:
    release = studio.release()

    rows = pq.read_table(studio.workspace.release("v1.0.0") / "index/val.parquet").to_pylist()

    assert len(rows) == 1
    clip = release.clips[0]
    assert rows[0]["clip"] == "pier-walk-000"
    assert rows[0]["homography"] == [value for row in HOMOGRAPHY for value in row]
    assert rows[0]["duration_s"] == pytest.approx(PAIRS / FPS)
    assert rows[0]["registration_confidence"] == 0.5
    assert {name: rows[0][name] for name in ("store", "root_hash", "fingerprint")} == {
        name: getattr(clip, name) for name in ("store", "root_hash", "fingerprint")
    }
    assert not (studio.workspace.release("v1.0.0") / "index/test.parquet").exists()


def front_matter(card: str) -> Mapping[str, object]:
    _, matter, _ = card.split("---\n", 2)
    read: Mapping[str, object] = YAML(typ="safe").load(matter)
    return read


def test_the_card_tells_the_hub_where_the_rows_of_each_split_are(studio: Studio) -> None:
    studio.release()

    matter = front_matter((studio.workspace.release("v1.0.0") / "README.md").read_text())

    assert matter["license"] == "mit"
    assert matter["pretty_name"] == "harbour"
    assert matter["size_categories"] == ["n<1K"]
    assert matter["configs"] == [
        {
            "config_name": "default",
            "data_files": [
                {"split": "train", "path": "index/train.parquet"},
                {"split": "val", "path": "index/val.parquet"},
            ],
        }
    ]


@given(
    text=st.text(max_size=200)
    | st.lists(
        st.sampled_from(
            [
                "\n---\n",
                "<script>",
                "</p>",
                "![x](y)",
                "`",
                "\n# head",
                "\u202e",
                "[a](b)",
                "|",
                "\n- a",
            ]
        ),
        max_size=8,
    ).map("".join)
)
def test_text_of_people_cannot_become_markup(text: str) -> None:
    shown = escaped(text)

    assert "<" not in shown
    assert ">" not in shown
    assert "\u202e" not in shown
    for line in shown.splitlines():
        assert not line.startswith(("#", "-", "+", "=", "*", "    ", "1."))
        bare = line.replace("\\\\", "")
        for sign in "`*_[]()|":
            assert bare.replace(f"\\{sign}", "").count(sign) == 0


def test_plain_words_stay_as_they_are() -> None:
    text = "Filmed at the quay, 2024; see arXiv:2503.23359.\n\nTwo cameras, 640x480."

    assert escaped(text) == text


def test_a_hostile_description_and_licence_stay_text(studio: Studio) -> None:
    hostile = 'x\n---\nlicense: gpl\n<script>alert(1)</script>\n# Not a heading "quoted"'
    catalog = studio.catalog(hostile)
    dataset = catalog.dataset.model_copy(update={"licence": 'mit"\n---\nevil: true'})

    run_release(
        catalog.model_copy(update={"dataset": dataset}),
        "v1.0.0",
        studio.workspace,
        studio.outcomes,
    )

    card = (studio.workspace.release("v1.0.0") / "README.md").read_text()
    assert front_matter(card)["license"] == "other"
    assert card.splitlines().count("---") == 2
    assert "<script" not in card
    assert "\n# Not" not in card


@pytest.mark.parametrize(
    ("rows", "name"),
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (153_797, "100K<n<1M"), (10**7, "n>1M")],
)
def test_sizes_are_named_as_the_hub_does(rows: int, name: str) -> None:
    assert size_category(rows) == name


def test_a_citation_stands_in_a_block_that_it_cannot_end(tmp_path: Path) -> None:
    studio = Studio(tmp_path, ["quay"])
    citation = "@misc{harbour,\n  title = {Harbour}\n```\n</pre><script>\u202e\n}"
    catalog = studio.catalog()
    dataset = catalog.dataset.model_copy(update={"citation": citation})

    catalog = catalog.model_copy(update={"dataset": dataset})
    run_release(catalog, "v1.0.0", studio.workspace, studio.outcomes)

    card = (studio.workspace.release("v1.0.0") / "README.md").read_text()
    _, block = card.split("## Citation\n\n")
    assert block.splitlines()[0] == "    @misc{harbour,"
    assert all(line.startswith("    ") for line in block.splitlines())
    assert "\u202e" not in block


def test_without_a_citation_there_is_no_heading_of_it(studio: Studio) -> None:
    studio.release()

    assert "Citation" not in (studio.workspace.release("v1.0.0") / "README.md").read_text()
