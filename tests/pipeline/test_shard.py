"""A recording becomes sealed clips that hold its very frames, streamed, and the same every time."""

import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import BaseModel

from pipeline.clip_seals import verify_clip
from pipeline.clip_stores import open_clip
from pipeline.degrade import degrade_block
from pipeline.degrade_draws import DegradationDraw, Window
from pipeline.ingest import run_ingest
from pipeline.shard import run_shard
from pipeline.shard_clips import shard_fingerprint
from pipeline.sync import run_sync
from pipeline.tone import levels_of
from pipeline.video_files import read_frames, write_image, write_video
from pipeline.workspace import Workspace, load, load_arrays, save, save_arrays
from schemas.base import Matrix3x3
from schemas.catalog import Camera, Recording, RecordingPlan, Review, Rig, Timestamps
from schemas.degradations import StripeNoise
from schemas.errors import ShardError, WorkspaceError
from schemas.facts import RegisterFacts, ShardFacts, Stretch, SyncFacts
from schemas.recipe import DegradeRecipe, Recipe, ShardRecipe
from schemas.store import ClipAttributes
from tests.model.clip_fixtures import LOOKING_AROUND

FPS = 25.0
WIDTH, HEIGHT = 64, 48
IDENTITY: Matrix3x3 = ((1, 0, 0), (0, 1, 0), (0, 0, 1))

Stream = NDArray[Any]

StoredClip = tuple[dict[str, Stream], ClipAttributes]


def noise(seed: int, pairs: int, *shape: int, dtype: type = np.uint8) -> Stream:
    limit = 255 if dtype is np.uint8 else 9000
    return np.random.default_rng(seed).integers(0, limit + 1, (pairs, *shape), dtype=dtype)


def write_folder(folder: Path, frames: Stream) -> None:
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        write_image(folder / f"{index:04d}.png", frame)


def write_times(path: Path, times_s: NDArray[np.float64]) -> None:
    rows = [f"{index},{time_s:.6f}" for index, time_s in enumerate(times_s)]
    path.write_text("\n".join(["frame,time_s", *rows]) + "\n")


def film(root: Path, pairs: int, *, dtype: type = np.uint8) -> None:
    """An infrared and a visible video of noise below `root`."""
    root.mkdir(parents=True, exist_ok=True)
    infrared = noise(1, pairs, HEIGHT, WIDTH, dtype=dtype)
    visible = noise(2, pairs, HEIGHT, WIDTH, 3)
    write_video(root / "infrared.mkv", infrared, fps=FPS, codec="ffv1")
    write_video(root / "visible.mp4", visible, fps=FPS, codec="h264")


def plan_of(root: Path, recipe: Recipe | None = None, **fields: Any) -> RecordingPlan:
    named = {
        "id": "dock",
        "site": "harbour",
        "infrared": "infrared.mkv",
        "visible": "visible.mp4",
        "registered": True,
    }
    camera = Camera(width=WIDTH, height=HEIGHT)
    return RecordingPlan(
        recording=Recording.model_validate(named | fields),
        session="spring",
        rig=Rig(id="mast", infrared=camera, visible=camera),
        data_root=root,
        recipe=recipe or Recipe(),
    )


def with_facts(
    plan: RecordingPlan,
    workspace: Workspace,
    homography: Matrix3x3 = IDENTITY,
    crop: tuple[int, int, int, int] | None = None,
) -> RegisterFacts:
    """What the earlier stages leave behind; the homography is planted."""
    run_ingest(plan, workspace)
    run_sync(plan, workspace)
    facts = RegisterFacts(
        recording=plan.recording.id,
        fingerprint="ab" * 16,
        source="registered" if plan.recording.registered else "declared",
        homography=homography,
        confidence=0.75,
        mean_residual_px=None,
        crop=crop or (0, 0, plan.rig.infrared.width, plan.rig.infrared.height),
    )
    save(facts, workspace.facts(plan.recording.id, "register"))
    return facts


def gapped_plan(root: Path) -> RecordingPlan:
    """Film a recording of two clips: frames 0 to 8 and 12 to 29, a second apart."""
    film(root, 30)
    times_s = np.arange(30) / FPS
    times_s[9:] += 1.0
    times_s[12:] += 1.0  # frames 9 to 11 are too few for a clip
    for band in ("infrared", "visible"):
        write_times(root / f"{band}.csv", times_s)
    return plan_of(root, timestamps=Timestamps(infrared="infrared.csv", visible="visible.csv"))


def source(plan: RecordingPlan, band: str) -> Stream:
    path = plan.data_root / getattr(plan.recording, band)
    return np.stack(list(read_frames(path, "infrared" if "infrared" in band else "visible")))


def stored(
    workspace: Workspace, facts: ShardFacts
) -> list[tuple[dict[str, Stream], ClipAttributes]]:
    clips: list[tuple[dict[str, Stream], ClipAttributes]] = []
    for clip in facts.clips:
        store = workspace.clip(clip.clip, clip.fingerprint)
        assert verify_clip(store, expected_root_hash=clip.root_hash) == []
        group, attributes = open_clip(store)
        arrays = {name: np.asarray(array[...]) for name, array in group.arrays()}
        clips.append((arrays, attributes))
    return clips


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "work")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with a recording of nine pairs."""
    film(tmp_path / "data", 9)
    return tmp_path / "data"


def test_a_registered_recording_keeps_its_frames_exactly(workspace: Workspace, root: Path) -> None:
    plan = plan_of(root, tags=["night"])
    with_facts(plan, workspace)

    facts = run_shard(plan, workspace)

    ((arrays, attributes),) = stored(workspace, facts)
    assert np.array_equal(arrays["infrared"], source(plan, "infrared"))
    assert np.array_equal(arrays["visible"], source(plan, "visible"))
    assert arrays["valid"].all()
    assert arrays["time_s"] == pytest.approx(np.arange(9) / FPS, abs=1e-3)
    assert (attributes.clip, attributes.site, attributes.tags) == (
        "dock-000000",
        "harbour",
        ("night",),
    )
    assert attributes.degraded == "materialised"
    assert load(workspace.facts("dock", "shard"), ShardFacts) == facts
    assert list(workspace.staging.iterdir()) == []


def test_folders_of_frames_of_odd_size_keep_their_frames_exactly(
    workspace: Workspace, tmp_path: Path
) -> None:
    infrared, visible = noise(1, 9, 31, 43), noise(2, 9, 31, 43, 3)
    write_folder(tmp_path / "data" / "ir", infrared)
    write_folder(tmp_path / "data" / "vis", visible)
    plan = plan_of(tmp_path / "data", infrared="ir", visible="vis", fps=FPS)
    camera = Camera(width=43, height=31)
    plan = plan.model_copy(update={"rig": Rig(id="mast", infrared=camera, visible=camera)})
    with_facts(plan, workspace)

    ((arrays, attributes),) = stored(workspace, run_shard(plan, workspace))

    assert np.array_equal(arrays["infrared"], infrared)
    assert np.array_equal(arrays["visible"], visible)
    assert (attributes.width, attributes.height) == (43, 31)
    assert attributes.fps == pytest.approx(FPS)


def test_given_degraded_streams_are_kept_as_they_are(workspace: Workspace, root: Path) -> None:
    noisy, blurred = noise(3, 9, HEIGHT, WIDTH), noise(4, 9, HEIGHT, WIDTH, 3)
    write_folder(root / "noisy", noisy)
    write_folder(root / "blurred", blurred)
    plan = plan_of(root, infrared_degraded="noisy", visible_degraded="blurred")
    with_facts(plan, workspace)

    ((arrays, attributes),) = stored(workspace, run_shard(plan, workspace))

    assert np.array_equal(arrays["infrared_degraded"], noisy)
    assert np.array_equal(arrays["visible_degraded"], blurred)
    assert attributes.degraded == "given"
    assert attributes.sources["infrared_degraded"].path == "noisy"
    assert set(attributes.sources) == {
        "infrared",
        "visible",
        "infrared_degraded",
        "visible_degraded",
    }


@pytest.mark.parametrize("materialise", [True, False])
def test_where_one_degraded_stream_is_given_the_other_follows_the_recipe(
    workspace: Workspace, root: Path, *, materialise: bool
) -> None:
    noisy = noise(3, 9, HEIGHT, WIDTH)
    write_folder(root / "noisy", noisy)
    recipe = Recipe(degrade=DegradeRecipe(materialise=materialise))
    plan = plan_of(root, recipe, infrared_degraded="noisy")
    with_facts(plan, workspace)

    ((arrays, attributes),) = stored(workspace, run_shard(plan, workspace))

    assert np.array_equal(arrays["infrared_degraded"], noisy)
    assert ("visible_degraded" in arrays) == materialise
    assert attributes.degraded == "given"
    assert "visible_degraded" not in attributes.sources


@pytest.mark.parametrize("recipe", [DegradeRecipe(), LOOKING_AROUND], ids=["m3svd", "all-round"])
def test_degraded_frames_are_those_of_the_whole_clip_at_once(
    workspace: Workspace, tmp_path: Path, recipe: DegradeRecipe
) -> None:
    film(tmp_path / "data", 70)
    plan = plan_of(tmp_path / "data", Recipe(seed=11, degrade=recipe))
    with_facts(plan, workspace)

    ((arrays, _),) = stored(workspace, run_shard(plan, workspace))

    for band, axes in (("infrared", (0, 1, 2)), ("visible", (0, 3, 1, 2))):
        clean = torch.from_numpy(arrays[band]).permute(axes)
        clean = clean[:, None] if band == "infrared" else clean
        expected = degrade_block(
            clean,
            getattr(plan.recipe.degrade, band),
            DegradationDraw(seed=11, clip="dock-000000", band=band),  # type: ignore[arg-type]  # one of the two literals
            indices=range(len(clean)),
            window=Window(0, 0, HEIGHT, WIDTH),
        )
        found = torch.from_numpy(arrays[f"{band}_degraded"]).permute(axes)
        found = found[:, None] if band == "infrared" else found
        assert torch.equal(found, expected)
        assert not torch.equal(found, clean)


def test_without_materialising_only_clean_frames_are_stored(
    workspace: Workspace, root: Path
) -> None:
    plan = plan_of(root, Recipe(degrade=DegradeRecipe(materialise=False)))
    with_facts(plan, workspace)

    ((arrays, attributes),) = stored(workspace, run_shard(plan, workspace))

    assert set(arrays) == {"infrared", "visible", "time_s", "valid"}
    assert attributes.degraded == "at-load"


@pytest.mark.parametrize("keep_counts", [True, False])
def test_counts_are_kept_beside_the_levels_made_of_them(
    workspace: Workspace, tmp_path: Path, *, keep_counts: bool
) -> None:
    film(tmp_path / "data", 9, dtype=np.uint16)
    plan = plan_of(tmp_path / "data", Recipe(shard=ShardRecipe(keep_counts=keep_counts)))
    with_facts(plan, workspace)

    ((arrays, _),) = stored(workspace, run_shard(plan, workspace))

    counts: Stream = source(plan, "infrared")
    curves: Stream = load_arrays(workspace.signals("dock"))["infrared_tone"]
    assert counts.dtype == np.uint16
    assert np.array_equal(
        arrays["infrared"], [levels_of(*pair) for pair in zip(counts, curves, strict=True)]
    )
    assert ("infrared_counts" in arrays) == keep_counts
    assert not keep_counts or np.array_equal(arrays["infrared_counts"], counts)


def test_visible_frames_move_by_the_homography_and_both_are_cropped(
    workspace: Workspace, root: Path
) -> None:
    plan = plan_of(root, registered=False, offset_s=0.0)
    crop = (5, 4, 40, 30)
    with_facts(plan, workspace, homography=((1, 0, 3), (0, 1, 2), (0, 0, 1)), crop=crop)

    ((arrays, attributes),) = stored(workspace, run_shard(plan, workspace))

    assert np.array_equal(arrays["infrared"], source(plan, "infrared")[:, 4:34, 5:45])
    assert np.array_equal(arrays["visible"], source(plan, "visible")[:, 2:32, 2:42])
    assert arrays["valid"].all()
    assert (attributes.crop, attributes.width, attributes.height) == (crop, 40, 30)


def test_a_gap_parts_a_recording_into_clips_that_hold_their_own_frames(
    workspace: Workspace, tmp_path: Path
) -> None:
    plan = gapped_plan(tmp_path / "data")
    with_facts(plan, workspace)

    facts = run_shard(plan, workspace)

    infrared, visible = source(plan, "infrared"), source(plan, "visible")
    clips = stored(workspace, facts)
    assert [clip.clip for clip in facts.clips] == ["dock-000000", "dock-000012"]
    for (arrays, attributes), frames in zip(clips, (slice(0, 9), slice(12, 30)), strict=True):
        assert np.array_equal(arrays["infrared"], infrared[frames])
        assert np.array_equal(arrays["visible"], visible[frames])
        assert arrays["time_s"] == pytest.approx(np.arange(attributes.pairs) / FPS)
        assert attributes.first_infrared_frame == frames.start
    assert [(run.first_infrared_frame, run.pairs) for run in facts.left_out] == [(9, 3)]
    assert len({clip.fingerprint for clip in facts.clips}) == 2


def test_a_recording_without_a_clip_says_how_short_its_runs_are(
    workspace: Workspace, root: Path
) -> None:
    plan = plan_of(root)
    with_facts(plan, workspace)
    longer = plan.model_copy(update={"recipe": Recipe(shard=ShardRecipe(min_pairs=12))})

    with pytest.raises(ShardError, match=r"longest .* 9 pairs .* 12; lower recipe.shard.min_pairs"):
        run_shard(longer, workspace)

    assert not (workspace.root / "clips").exists()


def test_what_is_done_is_not_done_again(workspace: Workspace, root: Path) -> None:
    plan = plan_of(root)
    with_facts(plan, workspace)
    facts = run_shard(plan, workspace)
    shutil.rmtree(root)

    assert run_shard(plan, workspace) == facts


def test_a_lost_store_is_made_again_with_the_same_bytes(workspace: Workspace, root: Path) -> None:
    plan = plan_of(root)
    with_facts(plan, workspace)
    facts = run_shard(plan, workspace)
    shutil.rmtree(workspace.root / "clips")

    again = run_shard(plan, workspace)

    assert again == facts
    stored(workspace, again)


def inodes(store: Path) -> dict[str, tuple[int, int]]:
    stats = {path.name: path.stat() for path in store.rglob("*") if path.is_file()}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in stats.items()}


@pytest.mark.parametrize("missing", [0, 1])
def test_a_recording_stopped_between_its_clips_writes_only_what_is_missing(
    workspace: Workspace, tmp_path: Path, missing: int
) -> None:
    plan = gapped_plan(tmp_path / "data")
    with_facts(plan, workspace)
    facts = run_shard(plan, workspace)
    stores = [workspace.clip(clip.clip, clip.fingerprint) for clip in facts.clips]
    workspace.facts("dock", "shard").unlink()
    shutil.rmtree(stores[missing])
    kept = inodes(stores[1 - missing])

    again = run_shard(plan, workspace)

    assert again == facts
    assert inodes(stores[1 - missing]) == kept
    stored(workspace, again)


@pytest.mark.parametrize("file", ["manifest.json", "visible/c/0/0/0/0", "a shard of bytes"])
def test_a_damaged_store_is_moved_aside_whole_and_written_anew(
    workspace: Workspace, root: Path, file: str
) -> None:
    plan = plan_of(root)
    with_facts(plan, workspace)
    facts = run_shard(plan, workspace)
    store = workspace.clip(facts.clips[0].clip, facts.clips[0].fingerprint)
    damaged = store / "visible/c/0/0/0/0" if file == "a shard of bytes" else store / file
    content = bytearray(damaged.read_bytes())
    if file == "a shard of bytes":
        content[100] ^= 1
        damaged.write_bytes(content)
        workspace.facts("dock", "shard").unlink()  # else nothing would look at the bytes
    else:
        damaged.unlink()
    spoiled = {path.name for path in store.rglob("*")}

    again = run_shard(plan, workspace)

    (aside,) = workspace.set_aside_stores()
    assert aside == f"damaged/dock-000000/{store.name}"
    assert {path.name for path in (workspace.root / aside).rglob("*")} == spoiled
    assert again == facts
    stored(workspace, again)


def test_a_store_damaged_twice_is_kept_twice(workspace: Workspace, root: Path) -> None:
    plan = plan_of(root)
    with_facts(plan, workspace)
    for _ in range(2):
        facts = run_shard(plan, workspace)
        store = workspace.clip(facts.clips[0].clip, facts.clips[0].fingerprint)
        (store / "manifest.json").write_text("{")

    again = run_shard(plan, workspace)

    assert again == facts
    assert len(workspace.set_aside_stores()) == 2


def test_pairs_of_other_facts_are_refused(workspace: Workspace, root: Path) -> None:
    plan = plan_of(root)
    with_facts(plan, workspace)
    pairs = load_arrays(workspace.pairs("dock"))
    save_arrays(pairs, workspace.pairs("dock"), fingerprint="cd" * 16)

    with pytest.raises(WorkspaceError, match=r"pairs.npz: belongs to facts of .* cdcd"):
        run_shard(plan, workspace)


def test_a_degraded_stream_that_ends_early_is_refused_and_leaves_nothing(
    workspace: Workspace, root: Path
) -> None:
    write_folder(root / "noisy", noise(3, 8, HEIGHT, WIDTH))
    plan = plan_of(root, infrared_degraded="noisy")
    with_facts(plan, workspace)

    with pytest.raises(ShardError, match=r"noisy: frame 8 is wanted and the file ends before"):
        run_shard(plan, workspace)

    assert list(workspace.staging.iterdir()) == []
    assert not (workspace.root / "clips").exists()


@pytest.mark.parametrize(
    "noisy",
    [noise(3, 9, HEIGHT, WIDTH + 1), noise(3, 9, HEIGHT, WIDTH, dtype=np.uint16)],
    ids=["size", "depth"],
)
def test_a_degraded_stream_of_another_kind_is_refused(
    workspace: Workspace, root: Path, noisy: Stream
) -> None:
    write_folder(root / "noisy", noisy)
    plan = plan_of(root, infrared_degraded="noisy")
    with_facts(plan, workspace)

    with pytest.raises(ShardError, match=r"infrared_degraded: a frame of shape \(48, 6"):
        run_shard(plan, workspace)


def test_quality_carries_the_confidences_of_the_stages_before(
    workspace: Workspace, root: Path
) -> None:
    plan = plan_of(root)
    register = with_facts(plan, workspace)
    sync = load(workspace.facts("dock", "sync"), SyncFacts)
    assert sync is not None

    (clip,) = run_shard(plan, workspace).clips

    infrared = source(plan, "infrared").astype(np.float64)
    assert clip.quality.infrared_mean_levels == pytest.approx(infrared.mean())
    assert clip.quality.registration_confidence == register.confidence
    assert clip.quality.sync_confidence == sync.confidence
    assert clip.quality.mean_residual_s == pytest.approx(sync.mean_residual_s)


def test_memory_does_not_grow_with_the_length_of_a_recording(tmp_path: Path) -> None:
    peaks_bytes: list[int] = []
    for pairs in (128, 640):
        film(tmp_path / f"{pairs}", pairs)
        plan, workspace = plan_of(tmp_path / f"{pairs}"), Workspace(tmp_path / f"work-{pairs}")
        with_facts(plan, workspace)
        tracemalloc.start()
        run_shard(plan, workspace)
        peaks_bytes.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    short, long = peaks_bytes
    assert long <= 1.2 * short


def changed(model: BaseModel, **fields: object) -> Any:
    return model.model_copy(update=fields)


MOVES: dict[str, Callable[[RecordingPlan], RecordingPlan]] = {
    "seed": lambda plan: changed(plan, recipe=changed(plan.recipe, seed=5)),
    "profile": lambda plan: changed(
        plan, recipe=changed(plan.recipe, shard=ShardRecipe(profile="publish"))
    ),
    "degradation": lambda plan: changed(
        plan, recipe=changed(plan.recipe, degrade=DegradeRecipe(infrared=(StripeNoise(),) * 2))
    ),
    "degradation at load": lambda plan: changed(
        plan,
        recipe=changed(
            plan.recipe, degrade=DegradeRecipe(infrared=(), visible=(), materialise=False)
        ),
    ),
    "site": lambda plan: changed(plan, recording=changed(plan.recording, site="quay")),
    "tags": lambda plan: changed(plan, recording=changed(plan.recording, tags=("day",))),
    "session": lambda plan: changed(plan, session="autumn"),
    "rig": lambda plan: changed(plan, rig=changed(plan.rig, id="pole")),
    "path": lambda plan: changed(plan, recording=changed(plan.recording, visible="other.mp4")),
}


@pytest.mark.parametrize("move", MOVES)
def test_whatever_moves_a_byte_moves_the_fingerprint(move: str) -> None:
    plan = plan_of(Path("/data"))

    assert shard_fingerprint(MOVES[move](plan), "up") != shard_fingerprint(plan, "up")


def test_the_fingerprint_follows_what_came_before_and_not_what_is_no_pixel() -> None:
    plan = plan_of(Path("/data"))
    reviewed = changed(plan, recording=changed(plan.recording, review=Review(decision="accept")))
    moved = changed(plan, data_root=Path("/elsewhere"))

    assert shard_fingerprint(plan, "other") != shard_fingerprint(plan, "up")
    assert shard_fingerprint(reviewed, "up") == shard_fingerprint(plan, "up")
    assert shard_fingerprint(moved, "up") == shard_fingerprint(plan, "up")


def test_every_stretch_of_a_bumped_recording_has_its_own_homography(tmp_path: Path) -> None:
    film(tmp_path / "rig", 30)
    plan = plan_of(tmp_path / "rig", registered=False, offset_s=0.0)
    workspace = Workspace(tmp_path / "work")
    crop = (6, 4, WIDTH - 12, HEIGHT - 8)
    facts = with_facts(plan, workspace, crop=crop)
    shifts = ((0, 12, 3), (15, 30, -5))
    stretches = tuple(
        Stretch(
            first_pair=first,
            end_pair=end,
            homography=((1, 0, shift), (0, 1, 2), (0, 0, 1)),
            confidence=0.5,
            mean_residual_px=None,
        )
        for first, end, shift in shifts
    )
    facts = facts.model_copy(update={"stretches": stretches})
    save(facts, workspace.facts("dock", "register"))

    cut = run_shard(plan, workspace)

    visible = source(plan, "visible")
    clips = stored(workspace, cut)
    assert [clip.pairs for clip in cut.clips] == [12, 15]
    assert [clip.homography for clip in cut.clips] == [each.homography for each in stretches]
    assert ["the rig moved" in run.reason for run in cut.left_out] == [True]
    for (arrays, about), (first, end, shift) in zip(clips, shifts, strict=True):
        moved = visible[first:end, 4 - 2 : HEIGHT - 4 - 2, 6 - shift : WIDTH - 6 - shift]
        assert np.array_equal(arrays["visible"], moved)
        assert about.first_infrared_frame == first
