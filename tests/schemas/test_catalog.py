"""The catalog: checked whole, with every problem named."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from schemas.catalog_reading import load_catalog
from schemas.errors import CatalogError
from schemas.recipe import DEGRADE_PRESETS, DegradeRecipe

Plain = dict[str, object]


def recording(name: str, **changes: object) -> Plain:
    return {
        "id": name,
        "site": "harbour",
        "infrared": f"{name}/infrared.mkv",
        "visible": f"{name}/visible.mp4",
        **changes,
    }


def catalog(*recordings: Plain, **changes: object) -> Plain:
    camera = {"width": 64, "height": 48}
    return {
        "dataset": {"name": "test-set"},
        "rigs": [{"id": "mast", "infrared": camera, "visible": camera}],
        "sessions": [{"id": "monday", "rig": "mast", "recordings": list(recordings)}],
        **changes,
    }


def write(folder: Path, content: Plain, *names: str) -> Path:
    """A catalog in `folder`, and the files of the recordings `names`."""
    for name in names:
        (folder / name).mkdir()
        (folder / name / "infrared.mkv").write_bytes(b"i")
        (folder / name / "visible.mp4").write_bytes(b"v")
    path = folder / "catalog.yaml"
    with path.open("w") as file:
        YAML(typ="safe").dump(content, file)
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(CatalogError) as caught:
        load_catalog(path)
    return str(caught.value).splitlines()


def test_a_good_catalog_gives_every_recording_its_rig_and_recipe(tmp_path: Path) -> None:
    path = write(tmp_path, catalog(recording("a"), recording("b")), "a", "b")

    plans = list(load_catalog(path).plans())

    assert [plan.recording.id for plan in plans] == ["a", "b"]
    assert plans[0].rig.id == "mast"
    assert plans[0].data_root == tmp_path.resolve()


def test_a_session_may_live_in_a_file_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, catalog(recording("a"), sessions=["monday.yaml"]), "a")
    with (tmp_path / "monday.yaml").open("w") as file:
        YAML(typ="safe").dump({"id": "m", "rig": "mast", "recordings": [recording("a")]}, file)

    assert [plan.session for plan in load_catalog(path).plans()] == ["m"]


def test_problems_of_a_session_file_name_that_file(tmp_path: Path) -> None:
    path = write(tmp_path, catalog(sessions=["monday.yaml", "tuesday.yaml"]))
    (tmp_path / "monday.yaml").write_text("{id: m, rig: none, recordings: [{id: a}]}")

    found = problems(path)

    assert f"{tmp_path / 'monday.yaml'}: recordings[0].site: Field required; add it" in found
    assert any("tuesday.yaml: cannot be read" in line for line in found)


def test_all_missing_files_are_listed_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, catalog(recording("a"), recording("b")))

    found = problems(path)

    places = [
        f"{path}: sessions[0].recordings[{n}].{band}"
        for n in (0, 1)
        for band in ("infrared", "visible")
    ]
    assert len(found) == len(places)
    for line, where in zip(found, places, strict=True):
        assert line.startswith(where + ": ")
        assert "does not exist; correct the path" in line


@pytest.mark.parametrize("path", ["../secret.mkv", "/etc/passwd", "a/../../b.mkv"])
def test_a_path_outside_the_data_root_is_refused(tmp_path: Path, path: str) -> None:
    file = write(tmp_path, catalog(recording("a", infrared=path)), "a")

    (line,) = problems(file)

    assert line.startswith(f"{file}: sessions[0].recordings[0].infrared: {path!r} leaves")


def test_a_link_out_of_the_data_root_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.mkv").write_bytes(b"x")
    file = write(root, catalog(recording("a")), "a")
    (root / "a" / "infrared.mkv").unlink()
    (root / "a" / "infrared.mkv").symlink_to(tmp_path / "secret.mkv")

    (line,) = problems(file)

    assert "outside the data root" in line


def test_repeated_ids_and_unknown_rigs_are_named(tmp_path: Path) -> None:
    content = catalog(recording("a"), recording("a"))
    content["sessions"] += [{"id": "monday", "rig": "pole", "recordings": [recording("a")]}]  # type: ignore[operator]

    found = "\n".join(problems(write(tmp_path, content, "a")))

    assert "sessions: the id monday stands 2 times" in found
    assert "recordings: the id a stands 3 times" in found
    assert "sessions[1].rig: pole is no rig of this catalog; use one of mast" in found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"visible": "a/infrared.mkv"}, "infrared and visible are both a/infrared.mkv"),
        ({"registered": True, "offset_s": 0.1}, "registered: true leaves no room"),
        ({"visible_degraded": "a/x.mp4"}, "only be kept for registered recordings"),
        ({"review": {"decision": "reject"}}, "a rejection needs a reason"),
        ({"offset_s": float("nan")}, "finite number"),
        ({"typo": 1}, "remove it or correct its spelling"),
    ],
)
def test_contradictions_in_a_recording_are_refused(
    tmp_path: Path, changes: Plain, said: str
) -> None:
    (line,) = problems(write(tmp_path, catalog(recording("a", **changes)), "a"))

    assert said in line


def test_split_shares_must_add_up(tmp_path: Path) -> None:
    content = catalog(recording("a"), splits={"train": 0.5, "val": 0.1, "test": 0.1})

    (line,) = problems(write(tmp_path, content, "a"))

    assert "train + val + test is 0.7; make the shares add up to 1" in line


@pytest.mark.parametrize(
    ("recipe", "place"),
    [
        ({"degrade": {"infrared": [{"kind": "fog"}]}}, "recipe.degrade.infrared[0]"),
        (
            {"degrade": {"visible": [{"kind": "gaussian-blur", "sigma_px": [2, 1]}]}},
            "recipe.degrade.visible[0].sigma_px",
        ),
        ({"register": {"frames": 0}}, "recipe.register.frames"),
        ({"shard": {"profile": "fast"}}, "recipe.shard.profile"),
    ],
)
def test_a_bad_recipe_is_refused_at_its_field(tmp_path: Path, recipe: Plain, place: str) -> None:
    path = write(tmp_path, catalog(recording("a"), recipe=recipe), "a")

    (line,) = problems(path)

    assert line.startswith(f"{path}: {place}: ")


@pytest.mark.parametrize("preset", DEGRADE_PRESETS)
@pytest.mark.parametrize("given", [{}, {"visible": []}, {"infrared": [{"kind": "row-noise"}]}])
def test_a_degrade_recipe_written_without_what_is_default_reads_back_the_same(
    preset: str, given: Plain
) -> None:
    recipe = DegradeRecipe.model_validate(given | {"preset": preset})

    assert DegradeRecipe.model_validate(recipe.model_dump(exclude_unset=True)) == recipe


def test_every_bad_number_of_a_chain_is_named_at_once(tmp_path: Path) -> None:
    infrared = [
        {"kind": "stripe-noise", "white_sigma_levels": [-3, 2]},
        {"kind": "defocus", "radius_px": [4, 1]},
        {"kind": "row-noise", "probability": 1.5},
        {"kind": "fog"},
        {"kind": "haze", "airlight_levels": [float("nan"), 9]},
        {"kind": "haze", "airlight_levels": [9, float("inf")]},
        {"kind": "low-resolution", "factor": [0, 4]},
        {"kind": "gaussian-blur", "kernel_px": 4},
        {"kind": "dropped-frames", "recovery_frames": 2.5},
        {},
    ]
    recipe: Plain = {"degrade": {"infrared": infrared, "preset": "mist"}}
    path = write(tmp_path, catalog(recording("a"), recipe=recipe), "a")

    places = [
        line.removeprefix(f"{path}: recipe.degrade.").split(": ")[0] for line in problems(path)
    ]

    assert sorted(places) == sorted(
        [
            "infrared[0].white_sigma_levels[0]",
            "infrared[1].radius_px",
            "infrared[2].probability",
            "infrared[3]",
            "infrared[4].airlight_levels[0]",
            "infrared[5].airlight_levels[1]",
            "infrared[6].factor[0]",
            "infrared[7].kernel_px",
            "infrared[8].recovery_frames",
            "infrared[9]",
            "preset",
        ]
    )
