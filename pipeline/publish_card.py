"""What people and the Hub read first of a release: the dataset card and the index of its clips."""

import html
import io
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.publish_previews import picture_path, video_path
from schemas.facts import ClipQuality
from schemas.release import SPLITS, Release, ReleaseClip

PICTURE_PATH = "assets/clips.png"
"""The contact sheet of a release, below its root."""

HUB_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")
"""How the Hub writes licence identifiers; whatever looks otherwise is filed under `other`."""

SIZE_CATEGORIES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
)
"""The Hub's names for numbers of rows; a row is a clip."""

CARD_TAGS = ("infrared", "visible", "thermal", "video", "image-fusion", "image-restoration", "zarr")

PICTURES = {"preview": {"_type": "Image"}}
"""What `datasets` is to take for pictures, in its own words; videos are files of the repository,
which it would decode with a library that few have."""

LONGEST_IN_SECONDS = 120
"""Longer playing times are told in minutes."""

MARKDOWN_SIGNS = re.compile(r"([\\`*_{}\[\]()~|$!])")
"""Signs that mean something anywhere in a line of Markdown."""

LINE_START_SIGNS = re.compile(r"^(\s*)([-+#=:>]|\d+(?=[.)]))")
"""Signs that mean something at the beginning of a line: headings, lists, rules."""

BIDIRECTIONAL_CONTROLS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Unicode's classes of characters that reorder the text around them."""

READING_EXAMPLE = """\
import json
from pathlib import Path
import zarr

root = Path(".")  # this folder
release = json.loads((root / "release.json").read_text())
clip = release["clips"][0]
group = zarr.open_group(root / clip["store"], mode="r")
infrared = group["infrared"][:7]  # (time, y, x), uint8 grey levels
visible = group["visible"][:7]  # (time, y, x, channel), uint8 RGB
print(clip["clip"], infrared.shape, visible.shape, group["time_s"][:7])
"""


def index_path(split: str) -> str:
    """Where the rows of a split stand, below the root of a release."""
    return f"index/{split}.parquet"


def index_parquet(clips: Iterable[tuple[ReleaseClip, bytes | None]]) -> bytes:
    """The rows of some clips as a Parquet file; equal clips give equal bytes.

    Args:
        clips: each with its picture, a JPEG, where it has one.
    """
    figures = list(ClipQuality.model_fields)
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("clip", "recording", "session", "rig", "site")),
            ("split", pa.string()),
            ("tags", pa.list_(pa.string())),
            *((name, pa.int64()) for name in ("pairs", "width", "height", "size_bytes")),
            *((name, pa.float64()) for name in ("fps", "duration_s", "offset_s", "drift_ppm")),
            ("homography", pa.list_(pa.float64())),
            *((name, pa.float64()) for name in figures),
            *((name, pa.string()) for name in ("fingerprint", "root_hash", "store")),
            ("preview", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("preview_video", pa.string()),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": PICTURES}})},
    )
    rows = []
    for clip, picture in clips:
        known = {name: getattr(clip, name) for name in schema.names if hasattr(clip, name)}
        rows.append(
            known
            | clip.quality.model_dump()
            | {"duration_s": clip.pairs / clip.fps, "homography": sum(clip.homography, ())}
        )
        if picture is not None:
            rows[-1]["preview"] = {"bytes": picture, "path": picture_path(clip)}
            rows[-1]["preview_video"] = video_path(clip)
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer, compression="zstd")
    return buffer.getvalue()


def dataset_card(release: Release, *, has_picture: bool) -> str:
    """The README.md of a release: YAML for the Hub, then Markdown for people.

    Nothing that a person wrote can end the YAML, open a tag or link, or change the layout.
    """
    sections = [
        _front_matter(release),
        f"# {release.dataset.name} {release.version}\n",
        _what_it_is(release),
        f"![Clips of this release in both bands]({PICTURE_PATH})\n" if has_picture else "",
        _counts(release.clips),
        _reading(release),
        _provenance(release),
        f"## Licence\n\n{escaped(release.dataset.licence)}\n",
        _citation(release.dataset.citation),
    ]
    return "\n".join(section for section in sections if section)


def escaped(text: str) -> str:
    """`text` as Markdown that shows it as it is: no markup, no tag, no hidden direction change."""
    lines = [_escaped_line(line) for line in text.splitlines()]
    return "\n".join(lines).strip()


def _visible(line: str) -> str:
    """Without control characters and changes of direction."""
    return "".join(
        character
        for character in line.replace("\t", " ")
        if unicodedata.category(character) not in ("Cc", "Cs")
        and unicodedata.bidirectional(character) not in BIDIRECTIONAL_CONTROLS
    )


def _escaped_line(line: str) -> str:
    marked = MARKDOWN_SIGNS.sub(r"\\\1", html.escape(_visible(line).strip(), quote=False))
    return LINE_START_SIGNS.sub(_guard, marked)


def _guard(match: re.Match[str]) -> str:
    """A line start that is not read as a heading, list or rule; numbers as an HTML entity."""
    space, sign = match.groups()
    return f"{space}&#{ord(sign[0])};{sign[1:]}"


def _front_matter(release: Release) -> str:
    """The YAML block; values are JSON strings, which no content of theirs can leave."""
    licence = release.dataset.licence.lower()
    known = HUB_LICENCE.fullmatch(licence) is not None
    names = dict.fromkeys((*CARD_TAGS, *_tags(release.clips)))
    lines = [
        "---",
        f"license: {json.dumps(licence if known else 'other')}",
        f"pretty_name: {json.dumps(release.dataset.name)}",
        "tags:",
        *(f"- {json.dumps(name)}" for name in names),
        "size_categories:",
        f"- {json.dumps(size_category(len(release.clips)))}",
        "configs:",
        "- config_name: default",
        "  data_files:",
    ]
    for split in release.split_counts():
        lines += [f"  - split: {split}", f"    path: {index_path(split)}"]
    return "\n".join([*lines, "---", ""])


def size_category(rows: int) -> str:
    """The Hub's name for that many rows."""
    return next((name for bound, name in SIZE_CATEGORIES if rows < bound), "n>1M")


def _tags(clips: Iterable[ReleaseClip]) -> list[str]:
    return sorted({tag for clip in clips for tag in clip.tags})


def _what_it_is(release: Release) -> str:
    clips = release.clips
    described = escaped(release.dataset.description)
    return (
        "## What it is\n\n"
        + (f"{described}\n\n" if described else "")
        + f"{_counted(len(clips), 'clip')} of infrared and visible video, synchronised and "
        f"registered pixel by pixel: {sum(clip.pairs for clip in clips):,} pairs of frames, "
        f"{length_of(clips)}, from {_counted(len({clip.site for clip in clips}), 'site')} and "
        f"{_counted(len({clip.session for clip in clips}), 'session')}. Every clip is a sealed "
        "zarr group with clean frames of both bands and, where they are stored, degraded ones.\n"
    )


def _counts(clips: Sequence[ReleaseClip]) -> str:
    """How many clips each split and each tag has."""
    by_split: dict[str, list[ReleaseClip]] = defaultdict(list)
    by_tag: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(SPLITS, 0))
    for clip in clips:
        by_split[clip.split].append(clip)
        for tag in clip.tags:
            by_tag[tag][clip.split] += 1
    split_rows = [
        [
            split,
            f"{len(by_split[split]):,}",
            f"{sum(clip.pairs for clip in by_split[split]):,}",
            length_of(by_split[split]),
            f"{len({clip.site for clip in by_split[split]}):,}",
        ]
        for split in SPLITS
        if by_split[split]
    ]
    tag_rows = [[tag, *(f"{by_tag[tag][split]:,}" for split in SPLITS)] for tag in sorted(by_tag)]
    return "\n".join(
        [
            "## Splits and tags\n",
            _table(["split", "clips", "pairs", "length", "sites"], split_rows),
            "A site never spans two splits, and no clip moves when sessions are added.\n",
            _table(["tag", *SPLITS], tag_rows) if tag_rows else "",
        ]
    )


def _reading(release: Release) -> str:
    split = next(iter(release.split_counts()))
    where, revision = release.dataset.hub_repo, f', revision="{release.version}"'
    if where is None:
        where, revision = ".", ""
    return (
        "## How to read it\n\n"
        "Any zarr v3 reader opens a clip:\n\n"
        f"```python\n{READING_EXAMPLE}```\n\n"
        "The index has a row per clip; `store` is the path of its zarr group below this folder:\n\n"
        "```python\n"
        "from datasets import load_dataset\n\n"
        f'clips = load_dataset("{where}", split="{split}"{revision})\n'
        'print(clips[0]["clip"], clips[0]["pairs"], clips[0]["store"])\n'
        "```\n\n"
        "`preview` is a picture of both bands, `preview_video` the path of a short video.\n"
    )


def _provenance(release: Release) -> str:
    told = (
        f"Release {release.version}, root hash `{release.root_hash}`. `release.json` lists every "
        "clip with its checksums, clock offset, homography, quality figures, and the recipe that "
        "made it; each store's `manifest.json` lists every file with its sha256.\n"
    )
    lines = ["## Provenance\n", told]
    if release.statistics is not None:
        bands = (
            ("infrared", release.statistics.infrared),
            ("visible (luma)", release.statistics.visible),
        )
        rows = [[name, f"{b.mean_levels:.3f}", f"{b.deviation_levels:.3f}"] for name, b in bands]
        lines += [
            "Grey levels of the clean training frames, where both cameras see the scene:\n",
            _table(["band", "mean", "deviation"], rows),
        ]
    if release.rejections:
        rows = [
            [one.recording, one.stage, escaped(" ".join(one.reason.split()))]
            for one in release.rejections
        ]
        lines += [
            f"{_counted(len(rows), 'recording')} left out:\n",
            _table(["recording", "stage", "reason"], rows),
        ]
    return "\n".join(lines)


def _citation(citation: str) -> str:
    """As it is, indented, so that no fence in it can end the block."""
    visible = [line for text in citation.splitlines() if (line := _visible(text)).strip()]
    if not visible:
        return ""
    return "## Citation\n\n" + "".join(f"    {line}\n" for line in visible)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def length_of(clips: Iterable[ReleaseClip]) -> str:
    """Playing time, in the unit people would say it in."""
    seconds = sum(clip.pairs / clip.fps for clip in clips)
    return f"{seconds:.1f} s" if seconds < LONGEST_IN_SECONDS else f"{seconds / 60:,.1f} min"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
