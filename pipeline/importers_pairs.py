"""Finds the pairs of the datasets that the field compares on, in the layouts they come in."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.image_files import IMAGE_SUFFIXES
from pipeline.video_files import VIDEO_SUFFIXES
from schemas.errors import EvaluateError

PairDataset = Literal["tno", "roadscene", "msrs", "llvip", "m3fd", "hdo", "ino"]

FOLDERS: dict[PairDataset, tuple[tuple[str, str], ...]] = {
    "tno": (("ir", "vi"), ("infrared", "visible")),
    "roadscene": (("cropinfrared", "crop_LR_visible"), ("ir", "vi")),
    "msrs": (("{split}/ir", "{split}/vi"),),
    "llvip": (("infrared/{split}", "visible/{split}"),),
    "m3fd": (("Ir", "Vis"), ("ir", "vi")),
    "hdo": (("infrared", "visible"), ("ir", "vi")),
}
"""Infrared and visible folder below the root, the published names first. TNO's images are found as
fusion benchmarks hand them on; LLVIP and MSRS have splits. Those of HDO hold videos, or a folder of
frames for each."""

INO_ENDINGS = ("_T", "_RGB")
"""How the names of INO's thermal and colour videos end, before their suffix."""

SHOWN = 5


@dataclass(frozen=True)
class SourcePair:
    """One pair of images, or of videos, that show the same."""

    name: str
    infrared: Path
    visible: Path


def run_find_pairs(dataset: PairDataset, root: Path, split: str) -> list[SourcePair]:
    """The pairs of a dataset, by name.

    Args:
        dataset: whose layout `root` has.
        root: its folder.
        split: train or test, where the dataset has splits.

    Raises:
        EvaluateError: the folder is not what it is said to be, or a file lacks its partner; says
            what was looked for, and what is missing.
    """
    if not root.is_dir():
        raise EvaluateError(f"{root}: is no folder; check the path")
    if dataset == "ino":
        return _run_find_ino(root)
    tried = [[root / name.format(split=split) for name in folders] for folders in FOLDERS[dataset]]
    for infrared, visible in tried:
        if infrared.is_dir() and visible.is_dir():
            return _matched(dict(_run_list(infrared)), dict(_run_list(visible)), infrared, visible)
    wanted = " or ".join(" and ".join(str(p.relative_to(root)) for p in pair) for pair in tried)
    raise EvaluateError(
        f"{root}: is not laid out as {dataset}: it has no folders {wanted}; it has "
        f"{_shown(path.name for path in root.iterdir())}"
    )


def _run_find_ino(root: Path) -> list[SourcePair]:
    """Videos of INO, in one folder or in one each."""
    thermal: dict[str, Path] = {}
    colour: dict[str, Path] = {}
    for path in sorted(root.rglob("*")):
        for stream, ending in zip((thermal, colour), INO_ENDINGS, strict=True):
            if path.suffix.lower() in VIDEO_SUFFIXES and path.stem.endswith(ending):
                stream[path.stem.removesuffix(ending)] = path
    if not thermal and not colour:
        raise EvaluateError(
            f"{root}: is not laid out as ino: it has no videos NAME_T.avi and NAME_RGB.avi; it has "
            f"{_shown(path.name for path in root.iterdir())}"
        )
    return _matched(thermal, colour, root, root)


def _run_list(folder: Path) -> Iterator[tuple[str, Path]]:
    """Images, videos and folders of frames by name, in the order of their names."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() or path.suffix.lower() in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES):
            yield path.stem, path


def _matched(
    infrared: dict[str, Path], visible: dict[str, Path], here: Path, there: Path
) -> list[SourcePair]:
    problems = []
    for names, place in ((infrared.keys() - visible, there), (visible.keys() - infrared, here)):
        if names:
            problems.append(f"{place}: lacks the partner of {_shown(names)}; bring it back")
    if not infrared and not visible:
        problems.append(f"{here}: holds no image and no video; check the folder")
    if problems:
        raise EvaluateError("\n".join(problems))
    return [SourcePair(name, infrared[name], visible[name]) for name in sorted(infrared)]


def _shown(names: Iterable[str]) -> str:
    """The first of some names, sorted."""
    ordered = sorted(names)
    more = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return f"{', '.join(ordered[:SHOWN])}{more}" if ordered else "nothing"
