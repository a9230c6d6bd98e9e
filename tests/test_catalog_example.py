"""The catalog at the root is a working example: the one that `twinband simulate` writes."""

import re
from pathlib import Path

from ruamel.yaml import YAML

from pipeline.simulate import catalog_of
from schemas.catalog import CatalogFile, Recording
from schemas.simulation import SimulationSettings
from schemas.yaml_files import load_yaml

EXAMPLE = Path(__file__).parents[1] / "catalog.yaml"
README = EXAMPLE.with_name("README.md")


def test_the_example_is_the_catalog_of_the_simulated_rig() -> None:
    example = load_yaml(EXAMPLE, CatalogFile)
    simulated = catalog_of(SimulationSettings())

    moved = simulated.dataset.model_copy(update={"data_root": "simulated"})
    assert example == simulated.model_copy(update={"dataset": moved})


def test_the_recordings_of_the_readme_are_recordings() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    sessions, more = (YAML(typ="safe").load(block) for block in blocks)

    listed = [*sessions["sessions"][0]["recordings"], *more]

    recordings = [Recording.model_validate(entry) for entry in listed]
    assert len(recordings) == 4
