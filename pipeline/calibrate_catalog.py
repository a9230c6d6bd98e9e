"""A lens written into the text of a catalog; every other character stays as it is."""

from ruamel.yaml.error import YAMLError

from pipeline.catalog_text import number, plain, with_member
from schemas.base import Band
from schemas.catalog import CatalogFile, Lens
from schemas.errors import CatalogError
from schemas.yaml_files import parse

LENS_DECIMALS = 7
"""Of pixels and coefficients: far below what footage tells."""


def with_lens(text: str, rig: str, band: Band, lens: Lens, *, file: str) -> str:
    """The catalog with the lens of one camera set; comments and layout stay.

    Args:
        text: of a valid catalog that holds the rig.
        rig: its id.
        band: which of its cameras.
        lens: what the camera gets.
        file: the catalog's name, for messages.

    Raises:
        CatalogError: the file is written in a way (such as an alias for a camera) that leaves no
            place for a lens of this camera alone.
    """
    before = parse(plain(text), CatalogFile, file)
    index = [known.id for known in before.rigs].index(rig)
    written = with_member(text, ("rigs", index, band), "lens", flow_mapping(lens))
    if written is not None and _is_as_expected(written, before, index, band, lens):
        return written
    raise CatalogError(
        f"{file}: rigs[{index}].{band}: is written in a way that leaves no place for a lens; "
        f"write it there yourself: lens: {flow_mapping(lens)}"
    )


def _is_as_expected(text: str, before: CatalogFile, index: int, band: Band, lens: Lens) -> bool:
    """Whether a catalog says what it said before, and the lens."""
    rig = before.rigs[index]
    camera = getattr(rig, band).model_copy(update={"lens": lens})
    rigs = list(before.rigs)
    rigs[index] = rig.model_copy(update={band: camera})
    try:
        after = parse(plain(text), CatalogFile, "")
    except (CatalogError, YAMLError, ValueError):
        return False
    return after == before.model_copy(update={"rigs": tuple(rigs)})


def flow_mapping(lens: Lens) -> str:
    """A lens as one line of YAML; coefficients that are 0 are left out."""
    shown = {name: value for name, value in lens if value != 0 or name in ("fx", "fy", "cx", "cy")}
    return (
        "{"
        + ", ".join(f"{name}: {number(value, LENS_DECIMALS)}" for name, value in shown.items())
        + "}"
    )
