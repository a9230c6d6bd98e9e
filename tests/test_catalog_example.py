"""The catalog at the root is a working example: the one that `twinband simulate` writes."""

from pathlib import Path

from pipeline.simulate import catalog_of
from schemas.catalog import CatalogFile
from schemas.simulation import SimulationSettings
from schemas.yaml_files import load_yaml

EXAMPLE = Path(__file__).parents[1] / "catalog.yaml"


def test_the_example_is_the_catalog_of_the_simulated_rig() -> None:
    example = load_yaml(EXAMPLE, CatalogFile)
    simulated = catalog_of(SimulationSettings())

    moved = simulated.dataset.model_copy(update={"data_root": "simulated"})
    assert example == simulated.model_copy(update={"dataset": moved})
