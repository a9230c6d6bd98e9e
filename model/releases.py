"""Opens releases and single clips of them, here or afar."""

from pathlib import Path

from model.places import Place, is_address, place_of
from model.stores import OpenClip, open_clip
from schemas.errors import ReleaseError, StoreError
from schemas.release import MANIFEST_NAME, Release

RELEASES_FOLDER, CLIPS_FOLDER = "releases", "clips"
"""A workspace has its clips beside the folder of all releases, a published release beside its
release.json (DESIGN.md section 5)."""


def open_release(release: str | Path) -> tuple[Release, Place]:
    """A release and the place that its clips' stores are relative to.

    Args:
        release: the folder of a release, in a workspace or published, or its release.json; or the
            address of one of them.

    Raises:
        ReleaseError: there is none, or its content is not what was released.
    """
    given = str(release).removesuffix(f"/{MANIFEST_NAME}") if is_address(release) else release
    if isinstance(given, Path) or not is_address(given):
        given = Path(given).parent if Path(given).name == MANIFEST_NAME else Path(given)
    place = place_of(given)
    file = f"{place.address or place.root}/{MANIFEST_NAME}"
    try:
        opened = Release.read(place.content(MANIFEST_NAME))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ReleaseError(
            f"{file} does not exist; give the folder of a release, such as work/releases/v1.0.0 "
            "or a folder that was published to"
        ) from error
    except StoreError as error:
        raise ReleaseError(f"no release is found: {error}") from error
    except ReleaseError as error:
        raise ReleaseError(f"{file} {error}") from error
    return opened, _clips_place(place)


def _clips_place(place: Place) -> Place:
    """The place of the clips of the release at `place`."""
    if place.address is None:
        is_inside = place.root.parent.name == RELEASES_FOLDER
        has_clips = (place.root / CLIPS_FOLDER).is_dir()
        return Place(place.root.parent.parent) if is_inside and not has_clips else place
    workspace, _, above = place.address.rpartition("/")[0].rpartition("/")
    return place_of(workspace) if above == RELEASES_FOLDER else place


def open_released(release: str | Path, clip: str) -> OpenClip:
    """One clip of a release, for `model.stores.read_frames`; from afar, what it reads is fetched.

    Args:
        release: as for `open_release`, such as hf://datasets/org/name@v1.0.0.
        clip: its name, which is `clip` in a row of the release's index.

    Raises:
        ReleaseError: there is no such release, or no such clip in it.
        StoreError: the clip's store is missing, damaged or another one.
    """
    opened, place = open_release(release)
    for listed in opened.clips:
        if listed.clip == clip:
            return open_clip(place, listed)
    raise ReleaseError(
        f"{release} has no clip {clip!r}; its index names {len(opened.clips)}, such as "
        f"{opened.clips[0].clip}"
    )
