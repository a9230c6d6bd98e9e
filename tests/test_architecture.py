"""The floor plan: who may import whom, and what stands where (docs/adr/0001)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

MAY_IMPORT = {
    "schemas": {"schemas"},
    "pipeline": {"schemas", "pipeline"},
    "model": {"schemas", "pipeline", "model"},
    "flows": {"schemas", "pipeline", "model", "flows"},
}

FORBIDDEN = {
    "schemas": {"numpy", "torch", "zarr", "cv2", "av", "prefect", "dask", "click"},
    "pipeline": {"prefect", "prefect_dask", "click", "rich"},
    "model": {"prefect", "dask", "distributed", "av", "ffmpeg", "cv2", "datasets", "click", "rich"},
    "flows": set[str](),
}

MODEL_MAY_IMPORT_OF_PIPELINE = ("pipeline.degrade",)
"""And its siblings, `pipeline.degrade_infrared` and so on: pixels have one source."""

EDGES = {
    "video_files",
    "video_encoding",
    "video_streams",
    "image_files",
    "raw_files",
    "ros_files",
    "timestamp_files",
    "clip_seals",
    "clip_stores",
    "durable",
    "hub",
    "hub_patience",
    "hub_repository",
    "lease",
    "object_folder",
    "object_lease",
    "object_raw",
    "object_scratch",
    "object_workspace",
    "staged_store",
    "workspace",
    "importers",
    "importers_pairs",
    "importers_session",
    "outcomes",
}
"""The modules that read and write; elsewhere only `run_*` and `hash_*` may call them."""

MODULES = sorted(path for folder in MAY_IMPORT for path in (ROOT / folder).glob("*.py"))

EDGE_CALLERS = ("run_", "hash_")

KEPT_BESIDE = {
    "flows": {"review_pages"},
    "model": {"weights"},
    "pipeline": {"report_pages"},
}
"""Folders of what is no Python."""

STAGES = {"ingest", "sync", "calibrate", "register", "degrade", "shard", "publish"}

PURE = {
    "align", "catalog", "charts", "clips", "geometry", "overlays", "pictures", "quality",
    "simulate", "split", "tone",
}  # fmt: skip

AT_THE_EDGE = {
    "clip", "durable", "garbage", "hub", "image", "importers", "lease", "looks", "object",
    "outcomes", "raw", "report", "review", "ros",
    "staged", "stream", "timestamp", "video", "workspace",
}  # fmt: skip

ROOMS = STAGES | PURE | AT_THE_EDGE
"""The first words of the modules of pipeline/ (docs/adr/0004)."""

HEAVY = {"torch", "kornia", "matplotlib", "prefect", "distributed", "datasets"}
"""Libraries that take from half a second to seconds to import."""

BANNED_NAMES = ("utils", "helpers", "common", "manager")

MAX_LINES = 400


def imports(path: Path, *, nested: bool = True) -> set[str]:
    """Every module that `path` imports, dotted; without nested ones, those at the top alone."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if nested else tree.body
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    folder = path.parent.name
    tops = {name.split(".")[0] for name in imports(path)}
    own = tops & set(MAY_IMPORT)

    assert own <= MAY_IMPORT[folder], f"{folder}/ must not import {own - MAY_IMPORT[folder]}"
    assert not tops & FORBIDDEN[folder], tops & FORBIDDEN[folder]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "model").glob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_model_borrows_nothing_of_pipeline_but_degrade(path: Path) -> None:
    borrowed = {name for name in imports(path) if name.startswith("pipeline")}

    assert all(name.startswith(MODEL_MAY_IMPORT_OF_PIPELINE) for name in borrowed), borrowed


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_stand_at_the_top(path: Path) -> None:
    if path.parent.name == "flows" and path.name.startswith("cli"):
        return

    assert imports(path) == imports(path, nested=False)


@pytest.mark.parametrize(
    "module",
    ["flows.release", "flows.publish", "pipeline.publish_verify", "pipeline.importers_session"],
)
def test_commands_that_degrade_and_draw_nothing_do_not_wait_for_torch(module: str) -> None:
    program = f"import sys, {module}; print(sorted({HEAVY} & sys.modules.keys()))"

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


def test_degrade_imports_schemas_alone() -> None:
    for path in (ROOT / "pipeline").glob("degrade*.py"):
        own = {name for name in imports(path) if name.split(".")[0] in MAY_IMPORT}

        assert all(name.startswith(("schemas", "pipeline.degrade")) for name in own), (path, own)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_runners_of_a_stage_touch_the_edges(path: Path) -> None:
    if path.parent.name != "pipeline" or path.stem in EDGES:
        return
    tree = ast.parse(path.read_text())
    edge_names = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").removeprefix("pipeline.") in EDGES
        for alias in node.names
        if alias.name[0].islower()
    }
    for function in (n for n in tree.body if isinstance(n, ast.FunctionDef)):
        used = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)} & edge_names
        is_runner = function.name.lstrip("_").startswith(EDGE_CALLERS)
        assert is_runner or not used, f"{path.name}: {function.name} uses {used}"


def test_folders_are_flat() -> None:
    for folder in MAY_IMPORT:
        inner = {p.name for p in (ROOT / folder).iterdir() if p.is_dir() and p.name[0] != "_"}
        modules = [p.name for p in (ROOT / folder).glob("*/*.py") if p.parent.name in inner]

        assert inner <= KEPT_BESIDE.get(folder, set()), f"{folder}/ holds {inner}"
        assert not modules, f"{folder}/ holds {modules} below"


def test_every_module_of_the_pipeline_belongs_to_a_room() -> None:
    first_words = {path.stem.split("_")[0] for path in (ROOT / "pipeline").glob("[a-z]*.py")}

    assert first_words == ROOMS


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_have_telling_names_and_a_readable_length(path: Path) -> None:
    assert not any(banned in path.stem for banned in BANNED_NAMES)
    assert len(path.read_text().splitlines()) <= MAX_LINES
