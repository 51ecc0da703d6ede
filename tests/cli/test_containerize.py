"""This module tests `bentobatch containerize`, with programs that note what they are told in the place of docker and podman,
and `bentobatch open-api-spec`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bentobatch.cli.containerize import BUILDERS, image_of
from bentobatch.cli.main import main


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def stand_in(folder: Path, name: str, *, fails: str = "nothing") -> Path:
    """A program that writes its arguments, one a line, behind what it wrote before; the step ``fails`` ends with 3."""
    notes = folder / f"{name}.txt"
    (folder / name).write_text(
        f'#!/bin/sh\nfor word in "$@"; do echo "$word" >>{notes}; done\necho "--" >>{notes}\necho "$1 says this"\n'
        f'if [ "$1" = {fails} ]; then echo "no luck" >&2; exit 3; fi\n'
    )
    (folder / name).chmod(0o755)
    return notes


def steps(notes: Path) -> list[list[str]]:
    """The calls of a stand-in after the one that asks whether it answers."""
    return [call.splitlines() for call in notes.read_text().split("--\n") if call][1:]


def test_docker_builds_the_image_of_a_bundle_and_pushes_it(bundles: Path, path: Path, capfd: Any) -> None:
    """By an argument list: what stands in it reaches docker as it is. The name is on stdout, all else on stderr."""
    notes = stand_in(path, "docker")
    words = ["--build-arg", "EXTRA_PIP_INSTALL_ARGS=--pre; $(touch evil)", "--build-arg", "UID=2000", "--push"]
    assert main(["containerize", str(bundles / "linear"), "-t", "reg.example.org:5000/t/linear:1", *words]) == 0
    image = "reg.example.org:5000/t/linear:1"
    assert steps(notes) == [
        ["build", "--tag", image, "--build-arg", "EXTRA_PIP_INSTALL_ARGS=--pre; $(touch evil)", "--build-arg", "UID=2000",
         str(bundles / "linear")],
        ["push", image],
    ]  # fmt: skip
    captured = capfd.readouterr()
    assert captured.out == f"{image}\n"
    assert "build says this" in captured.err


def test_podman_is_taken_where_there_is_no_docker_or_it_is_asked_for(bundles: Path, path: Path, capfd: Any) -> None:
    """The default name is the bundle's tag in small letters."""
    notes = stand_in(path, "podman")
    assert main(["containerize", str(bundles / "linear"), "--quiet"]) == 0
    out, err = capfd.readouterr()
    assert out.strip() == image_of(bundles / "linear")
    assert out.startswith("linear:2")
    assert err == ""
    assert steps(notes) == [["build", "--tag", out.strip(), str(bundles / "linear")]]
    stand_in(path, "docker")
    assert main(["containerize", str(bundles / "linear"), "--quiet", "--builder", "podman"]) == 0
    assert not (path / "docker.txt").exists()


def test_a_bundle_is_found_by_its_tag(bundles: Path, path: Path, home: Path, capfd: Any) -> None:
    """NAME:latest of the repository, as with every command."""
    shutil.copytree(bundles / "linear", home / "repository" / "Linear" / "v1")
    stand_in(path, "docker")
    assert main(["containerize", "Linear:latest", "-q"]) == 0, capfd.readouterr().err


def test_without_docker_and_podman_a_line_says_so(bundles: Path, path: Path, capfd: Any) -> None:
    """Exit 2, as of any library that is missing."""
    assert main(["containerize", str(bundles / "linear")]) == 2
    assert "docker and podman are not installed here" in capfd.readouterr().err
    assert main(["containerize", str(bundles / "linear"), "--builder", "podman"]) == 2
    assert "podman is not installed here" in capfd.readouterr().err


@pytest.mark.parametrize(("builder", "asks"), [("docker", "version"), ("podman", "info")])
def test_a_service_that_does_not_answer_is_told_from_a_build_that_fails(
    bundles: Path, path: Path, capfd: Any, builder: str, asks: str
) -> None:
    """Exit 69, try again: nothing was built."""
    notes = stand_in(path, builder, fails=asks)
    assert main(["containerize", str(bundles / "linear")]) == 69
    assert f"{builder} does not answer (no luck): start its service" in capfd.readouterr().err
    assert steps(notes) == []


@pytest.mark.parametrize(("step", "code"), [("build", 70), ("push", 69)])
def test_a_step_that_fails_ends_it(bundles: Path, path: Path, capfd: Any, step: str, code: int) -> None:
    """What the builder said is shown, with --quiet too, and no name of an image is."""
    stand_in(path, "docker", fails=step)
    for quiet in ([], ["--quiet"]):
        assert main(["containerize", str(bundles / "linear"), "--push", *quiet]) == code
        out, err = capfd.readouterr()
        assert out == ""
        assert "no luck" in err
        assert f"`docker {step}` ended with status 3" in err


@pytest.mark.parametrize(
    "words",
    [["-t", "Upper/Case"], ["-t", "--privileged"], ["-t", "a b"], ["--build-arg", "=x"], ["--build-arg", "a\nb=c"]],
)
def test_malformed_names_are_refused_before_anything_runs(
    bundles: Path, path: Path, capfd: Any, words: list[str]
) -> None:
    """Also one that would be an option of docker's."""
    stand_in(path, "docker")
    assert main(["containerize", str(bundles / "linear"), *words]) == 2
    assert not (path / "docker.txt").exists()


def test_a_bundle_that_was_changed_becomes_no_image(bundles: Path, path: Path, tmp_path: Path, capfd: Any) -> None:
    """Its digest covers the Dockerfile as well."""
    bundle = tmp_path / "b"
    shutil.copytree(bundles / "linear", bundle)
    with (bundle / "Dockerfile").open("a") as file:
        file.write("RUN evil\n")
    for builder in BUILDERS:
        stand_in(path, builder)
    assert main(["containerize", str(bundle)]) == 65
    assert "Dockerfile was changed" in capfd.readouterr().err
    assert not (path / "docker.txt").exists()


def test_a_policy_counts_for_images_too(
    bundles: Path, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """Building runs the bundle's setup.sh, so nothing is built that may not be run here."""
    notes = stand_in(path, "docker")
    (tmp_path / "policy.yml").write_text('allow:\n  - name: "Other*"\n')
    monkeypatch.setenv("BENTOBATCH_POLICY", str(tmp_path / "policy.yml"))
    assert main(["containerize", str(bundles / "linear")]) == 65
    assert "policy" in capfd.readouterr().err
    assert not notes.exists()


def test_bentomls_dockerfile_is_not_built(path: Path, tmp_path: Path, capfd: Any) -> None:
    """Its base image has no bentobatch."""
    from tests.legacy.layout import write_bundle

    write_bundle(tmp_path / "old")
    assert main(["containerize", str(tmp_path / "old")]) == 2
    assert "bentobatch migrate" in capfd.readouterr().err


def test_open_api_spec_shows_the_apis_as_json(bundles: Path, tmp_path: Path, capfd: Any) -> None:
    """Without running the bundle's code; what was changed is refused."""
    assert main(["open-api-spec", str(bundles / "linear")]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["info"]["title"] == "Linear"
    assert set(document["paths"]) == {"/predict", "/both", "/arrow"}
    shutil.copytree(bundles / "linear", tmp_path / "b")
    (tmp_path / "b/docs.json").write_text("{}")
    assert main(["open-api-spec", str(tmp_path / "b")]) == 65
    assert "docs.json was changed" in capfd.readouterr().err
