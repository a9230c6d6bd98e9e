"""`twinband train` as a process: killed, stopped, in ranks, from weights; and that it learns."""

import hashlib
import json
import signal
from pathlib import Path

import pytest
import torch

from flows.release import release_dataset
from model.checkpoint import load_checkpoint
from model.clips import ClipWindows
from model.loader import Batch
from model.train import Material, Means, train
from schemas.training import PRESETS, TrainingRecipe
from tests.flows.conftest import Built
from tests.flows.rig import COMMAND, Answer, running, wait_until
from tests.model.clip_fixtures import PlannedClip, Shelf, write_release

STEPS = 20
RECIPE = """\
network: {channels: 16, blocks: [1, 1, 1], decoder_blocks: 1}
frames: 2
crop: 16
batch: 2
steps: 20
checkpoint_every: 10
validate_every: 10
validation_windows: 2
augment: true
redraw: true
ema_decay: 0.9
"""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    folder = tmp_path_factory.mktemp("shelf")
    (folder / "recipe.yaml").write_text(RECIPE)
    return write_release(
        folder / "work",
        PlannedClip("dock-000", pairs=14),
        PlannedClip("pier-000", pairs=9, split="val"),
    )


def command(shelf: Shelf, run: Path, *more: object) -> tuple[str, ...]:
    recipe = shelf.workspace.root.parent / "recipe.yaml"
    words = ("train", shelf.release, "--recipe", recipe, "--out", run, "--json", *more)
    return tuple(str(word) for word in words)


def trained(shelf: Shelf, run: Path, *more: object) -> Answer:
    with running(COMMAND, *command(shelf, run, *more)) as process:
        return process.answer()


@pytest.fixture(scope="module")
def undisturbed(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a run that nobody touched."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    answer = trained(shelf, run)
    assert answer.code == 0, answer.complaints
    assert answer.document["steps"] == STEPS
    return run


def logged_steps(run: Path) -> int:
    log = run / "steps.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_killed_after_ten_steps_ends_to_the_bit_as_one_that_was_not(
    shelf: Shelf, undisturbed: Path, tmp_path: Path, workers: int
) -> None:
    run = tmp_path / "run"
    state = run / "checkpoints" / "step-000000010.safetensors"
    with running(COMMAND, *command(shelf, run, "--workers", workers)) as process:
        process.kill_at(lambda: state.exists() and logged_steps(run) >= 10, "ten steps are kept")
    assert 10 <= logged_steps(run) < STEPS

    answer = trained(shelf, run, "--workers", workers)

    assert answer.code == 0, answer.complaints
    for name in ("weights.safetensors", "best.safetensors", "steps.jsonl", "validations.jsonl"):
        assert (run / name).read_bytes() == (undisturbed / name).read_bytes(), name
    starts = json.loads((run / "run.json").read_text())["starts"]
    assert [start["after_step"] for start in starts] == [0, 10]
    assert [start["workers"] for start in starts] == [workers, workers]


def test_a_run_asked_to_end_keeps_its_state_and_says_how_to_go_on(
    shelf: Shelf, undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with running(COMMAND, *command(shelf, run)) as process:
        wait_until(lambda: logged_steps(run) >= 3, "three steps are done")
        process.process.send_signal(signal.SIGTERM)
        stopped = process.answer()

    assert stopped.code == 0, stopped.complaints
    assert stopped.document["ended"] == "interrupted"
    assert Path(stopped.document["checkpoint"]).exists()
    assert 3 <= stopped.document["steps"] < 10
    assert trained(shelf, run).document["ended"] == "finished"
    for name in ("weights.safetensors", "steps.jsonl"):
        assert (run / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_two_ranks_learn_what_one_process_learns_from_their_windows_together(
    shelf: Shelf, undisturbed: Path, tmp_path: Path
) -> None:
    torchrun = COMMAND.with_name("torchrun")
    shared = ("--standalone", "--nproc-per-node=2", "--no-python")
    run = tmp_path / "run"
    with running(torchrun, *shared, COMMAND, *command(shelf, run, "--batch", 1)) as process:
        answer = process.answer()

    assert answer.code == 0, answer.complaints
    assert answer.document["steps"] == STEPS, "printed once, by the rank that leads"
    alone = load_checkpoint(undisturbed / "weights.safetensors").state_dict()
    for name, tensor in load_checkpoint(run / "weights.safetensors").state_dict().items():
        assert torch.allclose(tensor, alone[name], atol=1e-4), name
    facts = json.loads((run / "run.json").read_text())
    assert facts["windows_per_step"] == 2
    assert facts["starts"][0]["ranks"] == 2


def test_a_run_begins_from_a_checkpoint_and_takes_its_network(
    shelf: Shelf, undisturbed: Path, tmp_path: Path
) -> None:
    first = undisturbed / "weights.safetensors"
    words = ("train", shelf.release, "--from", first, "--steps", 1, "--out", tmp_path / "run")
    with running(COMMAND, *map(str, words), "--json") as process:
        refused = process.answer()
    assert refused.code == 1, "the small preset has larger windows than these clips"
    assert "crop of at most 48" in refused.document["error"][0]

    answer = trained(shelf, tmp_path / "other", "--from", first, "--steps", 1)

    assert answer.code == 0, answer.complaints
    facts = json.loads((tmp_path / "other" / "run.json").read_text())
    assert facts["first_weights"] == hashlib.sha256(first.read_bytes()).hexdigest()
    assert answer.document["best"]["loss"] > 0


def test_the_run_tells_of_release_and_code(shelf: Shelf, undisturbed: Path) -> None:
    facts = json.loads((undisturbed / "run.json").read_text())

    released = json.loads((shelf.release / "release.json").read_text())
    assert facts["data"]["root_hash"] == released["root_hash"]
    assert facts["data"]["version"] == "v0.1.0"
    assert (facts["data"]["train_windows"], facts["data"]["val_windows"]) == (14, 9)
    assert facts["recipe"]["redraw"] is True
    assert facts["starts"][0]["torch"] == torch.__version__


class Two:
    """Two windows of a release, always cut alike."""

    def __init__(self, windows: ClipWindows, indices: tuple[int, int]) -> None:
        self.windows, self.indices = windows, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Batch:
        return self.windows[self.indices[index]]

    def where(self, index: int) -> str:
        return self.windows.where(self.indices[index])

    def set_epoch(self, epoch: int) -> None:
        """Stay in the first."""

    def state_dict(self) -> dict[str, object]:
        return {}

    def load_state_dict(self, state: dict[str, object]) -> None:
        assert state == {}


@pytest.mark.slow
def test_two_windows_of_the_simulated_rig_are_learnt_by_heart(built: Built, tmp_path: Path) -> None:
    """The whole loss, clean against degraded frames, falls by four fifths in 300 steps."""
    work = built.copy(tmp_path)
    release_dataset(built.catalog, "v0.1.0", work)
    windows = ClipWindows(work / "releases" / "v0.1.0", frames=2, crop=32, seed=0)
    recipe = TrainingRecipe.model_validate(
        PRESETS["small"].model_dump()
        | {"frames": 2, "crop": 32, "steps": 300, "warm_up_steps": 40}
        | {"learning_rate": 3e-3, "final_learning_rate": 5e-5}
    )
    losses: list[float] = []

    train(
        Material(Two(windows, (20, 70))),
        recipe,
        tmp_path / "run",
        Means(report=lambda _step, loss: losses.append(loss)),
    )

    assert len(losses) == 300
    assert losses[-1] <= 0.2 * losses[0]
