"""A lens written into the text of a catalog; every other character stays as it is."""

import io
import re

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node

from pipeline.video_files import Band
from schemas.catalog import CatalogFile, Lens
from schemas.errors import CatalogError
from schemas.yaml_files import parse


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
    before = parse(_plain(text), CatalogFile, file)
    index = [known.id for known in before.rigs].index(rig)
    camera = _camera_node(text, index, band)
    if isinstance(camera, MappingNode):
        written = _with_member(text, camera, "lens", flow_mapping(lens))
        if _is_as_expected(written, before, index, band, lens):
            return written
    raise CatalogError(
        f"{file}: rigs[{index}].{band}: is written in a way that leaves no place for a lens; "
        f"write it there yourself: lens: {flow_mapping(lens)}"
    )


def _plain(text: str) -> object:
    return YAML(typ="safe").load(io.StringIO(text))


def _is_as_expected(text: str, before: CatalogFile, index: int, band: Band, lens: Lens) -> bool:
    """Whether a catalog says what it said before, and the lens."""
    rig = before.rigs[index]
    camera = getattr(rig, band).model_copy(update={"lens": lens})
    rigs = list(before.rigs)
    rigs[index] = rig.model_copy(update={band: camera})
    try:
        after = parse(_plain(text), CatalogFile, "")
    except (CatalogError, YAMLError, ValueError):
        return False
    return after == before.model_copy(update={"rigs": tuple(rigs)})


def _camera_node(text: str, index: int, band: Band) -> Node | None:
    """Where a camera stands in the text."""
    rigs = _member(YAML(typ="safe", pure=True).compose(io.StringIO(text)), "rigs")
    return _member(rigs.value[index], band) if isinstance(rigs, CollectionNode) else None


def _member(node: Node | None, key: str) -> Node | None:
    """A mapping's value; None where it has none of that key."""
    if not isinstance(node, MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _with_member(text: str, mapping: MappingNode, key: str, value: str) -> str:
    """The text with a member of a mapping set to a value written on one line."""
    for name, old in mapping.value:
        if name.value == key:
            start, end = old.start_mark.index, _end(old)
            after_colon = text.index(":", name.end_mark.index) + 1
            if old.value == "":  # nothing is written there; its marks may lie lines below
                return f"{text[:after_colon]} {value}{text[after_colon:]}"
            if not text[after_colon:start].strip():
                return f"{text[:after_colon]} {value}{text[end:]}"
            return text[:start] + value + text[end:]
    end = _end(mapping.value[-1][1])
    if mapping.flow_style:
        return f"{text[:end]}, {key}: {value}{text[end:]}"
    newline = "\r\n" if "\r\n" in text else "\n"
    rest_of_line = re.compile(r"[^\r\n]*").match(text, end)
    end = rest_of_line.end() if rest_of_line else end
    indent = " " * mapping.value[0][0].start_mark.column
    return f"{text[:end]}{newline}{indent}{key}: {value}{text[end:]}"


def _end(node: Node) -> int:
    """Where a value ends in the text, without the comments and blank lines behind it."""
    if isinstance(node, CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def flow_mapping(lens: Lens) -> str:
    """A lens as one line of YAML; coefficients that are 0 are left out."""
    shown = {name: value for name, value in lens if value != 0 or name in ("fx", "fy", "cx", "cy")}
    return "{" + ", ".join(f"{name}: {_number(value)}" for name, value in shown.items()) + "}"


def _number(value: float) -> str:
    """Decimal digits without an exponent, which YAML 1.1 readers take for a word."""
    digits = f"{value:.7f}".rstrip("0")
    return digits + "0" if digits.endswith(".") else digits
