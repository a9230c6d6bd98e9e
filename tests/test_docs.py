"""Guides are followed to the letter; every command that a page names is one that twinband takes."""

import datetime as dt
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from ruamel.yaml import YAML

from flows.cli import main
from pipeline.image_files import write_image
from pipeline.simulate import run_simulate
from pipeline.video_files import read_frames
from schemas.catalog import Session
from schemas.simulation import (
    SMALL_RECORDING,
    SimulatedSession,
    SimulationSettings,
    small_simulation,
)
from schemas.yaml_files import parse
from tests.flows.rig import film_pair
from tests.hub_server import TOKEN, hub_server
from tests.object_server import object_server
from tests.pipeline.test_importers import video

ROOT = Path(__file__).parents[1]
GUIDES = ROOT / "docs" / "guides"

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(GUIDES.glob("*.md")),
]

FOLLOWED = ("first-dataset", "add-a-session", "train", "publish", "cluster")
"""In the order in which each builds on those before; the first ends in the dataset's folder."""

LIMIT_S = 400

FENCE = re.compile(r"^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)

SPAN = re.compile(r"`(twinband [^`]+)`")

PLACEHOLDERS = {"N", "..."}
"""What stands in a command for the reader's own."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    kind: str
    """`` of a shell's commands, `python`, `yaml`, `text` of what they print."""
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(m["kind"], m["text"]) for m in FENCE.finditer(page.read_text())]


def script(page: Path) -> str:
    """A guide's commands and programs, as one who follows it types them."""
    parts = ["set -euo pipefail"]
    for block in blocks(page):
        if block.kind == "":
            parts.append(block.text)
        elif block.kind == "python":
            parts.append(f"cat > program.py <<'PROGRAM'\n{block.text}PROGRAM\npython program.py")
    return "\n".join(parts)


def commands() -> Iterator[tuple[str, str]]:
    """Every twinband command that a page names, with the page."""
    for page in PAGES:
        for block in blocks(page):
            if block.kind == "":
                for line in block.text.replace("\\\n", " ").splitlines():
                    if line.startswith("twinband "):
                        yield page.name, line
        for span in SPAN.findall(page.read_text()):
            yield page.name, " ".join(span.split())


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_a_command_that_is_named_is_taken(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    words = [word for word in words if word not in PLACEHOLDERS]
    if words[-1:] == ["--"] or ">" in words:
        words = words[: words.index(">")]
    command: click.Command = main
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.commands.get(words[0])
        assert found is not None, f"{page}: twinband has no {words[0]}"
        command, words = found, words[1:]
    known = {name for parameter in command.params for name in parameter.opts}
    known |= {name for parameter in command.params for name in parameter.secondary_opts}
    for word in words:
        if word.startswith("-"):
            assert word in known | {"--help", "--version", "-h"}, f"{page}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sessions_in_pages_are_valid_and_what_is_linked_is_there(page: Path) -> None:
    for block in blocks(page):
        document = YAML(typ="safe").load(block.text) if block.kind == "yaml" else None
        sessions = document.get("sessions", ()) if isinstance(document, dict) else ()
        for session in sessions:
            parse(session, Session, page.name)
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
        assert (page.parent / link).exists(), f"{page.name} links {link}"


def followed(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A script of the shell, run in a folder as a reader of the pages would."""
    own = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "HF_HOME": str(folder.parent / "hf"),
        "HF_HUB_DISABLE_XET": "1",
    }
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=os.environ | own | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT_S,
        text=True,
        check=False,
    )


def follow(page: Path, folder: Path, **environment: str) -> None:
    """Follow a guide in a folder, and find what it says is printed."""
    done = followed(script(page), folder, **environment)
    assert done.returncode == 0, f"{page.name}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    printed = done.stdout
    for block in blocks(page):
        if block.kind == "text":
            for line in block.text.splitlines():
                place = printed.find(line)
                assert place >= 0, f"{page.name} shows {line!r}; printed was\n{done.stdout}"
                printed = printed[place + len(line) :]


@pytest.mark.slow
def test_the_guides_lead_from_a_rig_to_a_cluster(tmp_path: Path) -> None:
    with object_server(tmp_path) as objects:
        for name in FOLLOWED:
            folder = tmp_path if name == FOLLOWED[0] else tmp_path / "harbour"
            with hub_server() as hub:
                services = {"HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN} | objects.environment
                follow(GUIDES / f"{name}.md", folder, **services)


SHORTER = {
    "make demo": "true",  # tests/test_journey.py and CI have these two
    "make test": "true",
    "twinband simulate simulated ": "true ",  # six recordings; one was filmed beforehand
    "twinband review ": "until_served twinband review ",
    "--steps 20": "--steps 2",
    "--method all": "--method average",
    "twinband ablate v0.1.0 ": "true ",  # tests/flows/test_ablate.py has it
    "twinband diff v0.1.0": "twinband release v0.2.0; twinband diff v0.1.0",
    "clean/ noisy/ --band infrared --fit": "clean/ noisy/ --band infrared; "
    "twinband degrade clean/ noisy/ --band infrared --fit",
    "harbour/catalog.yaml --release ": "harbour/catalog.yaml --release --once --settle 0 ",
}
"""What is done for a line of README.md that would take minutes, wait for a reader, or needs what
the reader is told to have first."""

UNTIL_SERVED = """\
until_served() {
    set -m  # else what goes on behind would not hear the signal
    "$@" 2> served.txt &
    until grep http served.txt; do kill -0 $!; sleep 0.2; done
    kill -INT $!
    wait $!
}"""
"""A reader who looks at a page and presses Ctrl-C."""

FUSED_FRAMES = 4


def readme_script() -> str:
    """README.md's commands, then its programs, which go on from one another."""
    commands, program = ["set -euxo pipefail", UNTIL_SERVED], []
    for block in blocks(ROOT / "README.md"):
        if block.kind == "":
            text = block.text
            for long, short in SHORTER.items():
                text = text.replace(long, short)
            commands.append(text)
        elif block.kind == "python":
            program.append(block.text)
    publish = "twinband publish v0.1.0 --to lab/harbour"
    written = "cat > program.py <<'PROGRAM'\n" + "\n".join(program) + "PROGRAM"
    return "\n".join([*commands, publish, written, "python program.py"])


@pytest.mark.slow
def test_the_readme_is_followed(tmp_path: Path) -> None:
    park = SimulatedSession(id="outing", date=dt.date(2024, 4, 11), recordings=(SMALL_RECORDING,))
    filmed = SimulationSettings(sessions=(park,), sites={"park": "train"}, calibration=None)
    text = run_simulate(tmp_path / "simulated", filmed).read_text()
    (tmp_path / "catalog.yaml").write_text(
        text.replace("dataset:", "dataset:\n  data_root: simulated")
    )
    film_pair(tmp_path / "fused", FUSED_FRAMES, seed=1)
    for band, name in (("infrared", "IR"), ("visible", "VIS")):
        shutil.move(tmp_path / "fused" / f"{band}.mp4", tmp_path / f"{name}.mp4")
    film_pair(tmp_path / "sensor", 40, seed=2)
    shutil.move(tmp_path / "sensor" / "infrared.mp4", tmp_path / "clean.mp4")
    for number, frame in enumerate(read_frames(tmp_path / "clean.mp4", "infrared")):
        (tmp_path / "clean").mkdir(exist_ok=True)
        write_image(tmp_path / "clean" / f"{number:04d}.png", frame)
    for seed, place in enumerate(("monday/gate", "tuesday/pier", "incoming/wednesday/quay")):
        run_simulate(tmp_path / "rolls" / place, small_simulation(SMALL_RECORDING, seed=seed))
        shutil.copytree(tmp_path / "rolls" / place / "outing/walk", tmp_path / "harbour" / place)
        (tmp_path / "harbour" / place / "truth.json").unlink()

    with hub_server() as hub:
        done = followed(readme_script(), tmp_path, HF_ENDPOINT=hub.address, HF_TOKEN=TOKEN)

    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def test_a_published_dataset_is_adopted(tmp_path: Path) -> None:
    for split, clip in (("train", "0111_1716"), ("test", "0113_1714")):
        video(tmp_path / "M3SVD", split, clip)
        film_pair(tmp_path / "filmed", 20, seed=1, width=640, height=480)
        for band in ("infrared", "visible"):
            target = tmp_path / "M3SVD" / "Video" / split / band / f"{clip}.mp4"
            shutil.move(tmp_path / "filmed" / f"{band}.mp4", target)

    follow(GUIDES / "adopt-a-dataset.md", tmp_path)
