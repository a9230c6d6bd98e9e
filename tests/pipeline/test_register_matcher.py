"""A learned matcher is taken from local weights, proposes, and is judged like everything else."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from kornia.feature import LoFTR
from safetensors.torch import save_file

from pipeline.geometry import distance_of_corners
from pipeline.register import run_register
from pipeline.register_estimate import estimate, views_of
from pipeline.register_matcher import LearnedMatcher, run_load_matcher
from pipeline.register_residuals import kept_residuals
from pipeline.video_files import write_video
from pipeline.workspace import load_arrays
from schemas.catalog import Camera, Recording, RecordingPlan, Rig
from schemas.errors import RegisterError
from schemas.recipe import Recipe, RegisterRecipe
from tests.pipeline.test_register import (
    Grey,
    Matrix,
    as_infrared,
    color,
    planted,
    town,
    with_sync,
)

WIDTH, HEIGHT = 160, 120


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the right shapes that have learned nothing."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "loftr.ckpt"
    torch.save({"state_dict": LoFTR(pretrained=None).state_dict()}, path)
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def filmed(root: Path, picture: Grey, truth: Matrix, weights: Path) -> RecordingPlan:
    """A recording of a picture that the infrared camera sees through a homography."""
    frames = [as_infrared(cv2.warpPerspective(picture, truth, (WIDTH, HEIGHT)), 4)] * 20
    write_video(root / "i.mkv", frames, fps=25, codec="ffv1")
    write_video(root / "v.mp4", [color(picture)] * 20, fps=25, codec="h264")
    camera = Camera(width=WIDTH, height=HEIGHT)
    matcher = {"kind": "loftr", "weights": str(weights), "sha256": digest(weights)}
    return RecordingPlan(
        recording=Recording(id="gate", site="harbour", infrared="i.mkv", visible="v.mp4"),
        session="monday",
        rig=Rig(id="mast", infrared=camera, visible=camera),
        data_root=root,
        recipe=Recipe.model_validate({"register": {"frames": 2, "matcher": matcher}}),
    )


def test_weights_are_read_from_both_kinds_of_file(untrained: Path, tmp_path: Path) -> None:
    state = torch.load(untrained, weights_only=True)["state_dict"]
    save_file(state, tmp_path / "loftr.safetensors")

    one = run_load_matcher(untrained, digest(untrained))
    other = run_load_matcher(tmp_path / "loftr.safetensors", digest(tmp_path / "loftr.safetensors"))

    for name, weights in one.network.state_dict().items():
        assert torch.equal(weights, other.network.state_dict()[name])


def test_missing_other_and_unfit_weights_are_refused(untrained: Path, tmp_path: Path) -> None:
    with pytest.raises(RegisterError, match=r"gone\.ckpt: No such file.*never downloaded"):
        run_load_matcher(tmp_path / "gone.ckpt", "0" * 64)
    with pytest.raises(RegisterError, match=f"sha256 is {'0' * 64} and .* has {digest(untrained)}"):
        run_load_matcher(untrained, "0" * 64)
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "noise.ckpt").write_bytes(bytes(range(256)))
    (tmp_path / "noise.safetensors").write_bytes(bytes(range(256)))
    torch.save([1, 2, 3], tmp_path / "list.ckpt")
    for name in ("other.safetensors", "noise.ckpt", "noise.safetensors", "list.ckpt"):
        path = tmp_path / name
        with pytest.raises(RegisterError, match="holds no weights of kornia's LoFTR"):
            run_load_matcher(path, digest(path))


def test_a_proposal_beyond_the_search_is_taken_where_it_holds() -> None:
    picture = town(5, 240, 320)
    angle = np.radians(40)
    middle = np.array([[1, 0, 159.5], [0, 1, 119.5], [0, 0, 1]])
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    truth = middle @ turn @ np.linalg.inv(middle)
    infrared = as_infrared(cv2.warpPerspective(picture, truth, (320, 240)), 5)
    near = truth.copy()
    near[:2, 2] += (2.0, -1.5)

    fit = estimate(
        *views_of([infrared], [color(picture)]), RegisterRecipe(), lambda _here, _there: [near]
    )

    assert distance_of_corners(np.array(fit.homography), truth, picture.shape) < 1.0


def test_a_matcher_that_knows_nothing_leaves_the_recording_to_the_search(
    untrained: Path, tmp_path: Path
) -> None:
    picture, truth = town(4, HEIGHT, WIDTH), planted(4, 4, (WIDTH, HEIGHT))
    plan = filmed(tmp_path, picture, truth, untrained)
    workspace = with_sync(tmp_path)

    facts = run_register(plan, workspace)

    assert facts.source == "estimated"
    assert distance_of_corners(np.array(facts.homography), truth, picture.shape) < 1.0
    assert facts.parallax_px is not None
    kept = load_arrays(workspace.residuals("gate"), fingerprint=facts.fingerprint)
    assert kept_residuals(kept).parallax_px() == facts.parallax_px


def test_a_matcher_proposes_a_homography_or_nothing(untrained: Path) -> None:
    matcher = run_load_matcher(untrained, digest(untrained))
    picture = town(6, HEIGHT, WIDTH)
    views = views_of([as_infrared(picture, 6)] * 2, [color(picture)] * 2)

    proposals = list(matcher(*views))

    assert isinstance(matcher, LearnedMatcher)
    assert len(proposals) <= 1
    assert all(each.shape == (3, 3) and np.isfinite(each).all() for each in proposals)
