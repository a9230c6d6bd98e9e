"""Reading YAML: safe, bounded, and every problem at once."""

from pathlib import Path

import pytest
from pydantic import Field

from schemas.base import Slug, StrictModel
from schemas.errors import CatalogError
from schemas.yaml_files import MAX_BYTES, MAX_DEPTH, load_yaml, read_plain


class Leaf(StrictModel):
    id: Slug
    size_px: int = Field(ge=1)


class Tree(StrictModel):
    leaves: tuple[Leaf, ...]


def write(folder: Path, text: str) -> Path:
    path = folder / "tree.yaml"
    path.write_text(text)
    return path


def test_every_problem_is_named_with_its_place(tmp_path: Path) -> None:
    path = write(
        tmp_path, "leaves:\n- {id: oak, size_px: 0}\n- {id: Big Oak, size_px: 3, colour: red}\n"
    )

    with pytest.raises(CatalogError) as caught:
        load_yaml(path, Tree)

    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{path}: leaves[0].size_px: ")
    assert lines[1].startswith(f"{path}: leaves[1].id: ")
    assert "'Big Oak'" in lines[1]
    assert lines[2] == (
        f"{path}: leaves[1].colour: Extra inputs are not permitted, not 'red'; "
        "remove it or correct its spelling"
    )


def test_a_misplaced_bracket_is_named_by_line(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"tree.yaml: line 3, column \d+: .*correct the YAML"):
        read_plain(write(tmp_path, "a: 1\nb: [1, 2\n"))


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="duplicate key"):
        read_plain(write(tmp_path, "a: 1\na: 2\n"))


def test_python_objects_are_not_built(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="could not determine a constructor"):
        read_plain(write(tmp_path, "a: !!python/object/apply:os.system ['true']\n"))


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="No such file or directory; check the path"):
        read_plain(tmp_path / "none.yaml")


def test_depth_is_bounded(tmp_path: Path) -> None:
    depth = 100_000
    with pytest.raises(CatalogError, match=f"deeper than {MAX_DEPTH} levels"):
        read_plain(write(tmp_path, "[" * depth + "]" * depth))


def test_size_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=f"larger than {MAX_BYTES} bytes"):
        read_plain(write(tmp_path, "a: " + "x" * MAX_BYTES))


def test_aliases_that_multiply_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]

    with pytest.raises(CatalogError, match="once aliases are written out"):
        read_plain(write(tmp_path, "\n".join(lines)))


def test_an_alias_to_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"\*a names itself"):
        read_plain(write(tmp_path, "a: &a [*a]\n"))


def test_plain_aliases_are_read(tmp_path: Path) -> None:
    plain = read_plain(write(tmp_path, "a: &a {x: 1}\nb: *a\n"))

    assert plain == {"a": {"x": 1}, "b": {"x": 1}}


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tree.yaml"
    path.write_bytes(b"a: \xff\xfe")

    with pytest.raises(CatalogError, match="is not UTF-8"):
        read_plain(path)
