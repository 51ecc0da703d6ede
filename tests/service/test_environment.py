"""This module tests @env's options and what is rendered of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bentobatch.errors import UsageError
from bentobatch.service.environment import distribution_of, environment_from, find_file


def test_pip_options_come_first_and_inferred_packages_last() -> None:
    """What is declared wins over what was found, whatever the spelling of its name."""
    environment = environment_from(
        {
            "pip_packages": ["Scikit_Learn==1.5", "pandas[parquet]>=2", "x @ https://example.org/x.whl"],
            "pip_index_url": "https://example.org/simple",
            "pip_trusted_host": "example.org",
            "pip_extra_index_url": "https://other.org/simple",
        }
    )
    assert environment.requirements_lines(["scikit-learn==1.9", "numpy==2.0", "numpy==2.0", "X==1"]) == [
        "--index-url https://example.org/simple",
        "--trusted-host example.org",
        "--extra-index-url https://other.org/simple",
        "Scikit_Learn==1.5",
        "pandas[parquet]>=2",
        "x @ https://example.org/x.whl",
        "numpy==2.0",
    ]


def test_a_requirements_file_replaces_all_of_pip(tmp_path: Path) -> None:
    """Verbatim, options of pip included, read when it is asked for and not before."""
    environment = environment_from({"requirements_txt_file": "my.txt", "pip_packages": ["numpy"]})
    (tmp_path / "my.txt").write_text("-i https://example.org\nscipy==1.0  # why\n")
    lines = environment.requirements_lines(["pandas==2"], folders=[tmp_path / "nowhere", tmp_path])
    assert lines == ["-i https://example.org", "scipy==1.0  # why"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pip_packages": ["-i https://evil"]}, "pip's option '-i': use pip_index_url|begins with '-'"),
        ({"pip_packages": ["numpy -i https://evil"]}, "pip's option '-i'.*requirements_txt_file"),
        ({"pip_packages": ["numpy --hash=sha256:0"]}, "pip's option"),
        ({"pip_packages": ["numpy\nevil"]}, "newline or a control character"),
        ({"pip_packages": ["numpy\x85"]}, "control character"),
        ({"pip_packages": ["numpy\u2028evil"]}, "control character"),
        ({"pip_packages": "numpy"}, r"must be a list, such as \['numpy'\]"),
        ({"pip_packages": [""]}, "must be text"),
        ({"pip_packages": [None]}, "must be text"),
        ({"pip_packages": [1]}, "must be text"),
        ({"pip_index_url": "https://a b"}, "one word"),
        ({"pip_index_url": "--evil"}, "one word"),
        ({"pip_index_url": ["https://a"]}, "must be text"),
        ({"pip_trusted_host": "a\nRUN evil"}, "newline"),
        ({"pip_extra_index_url": ""}, "must be text"),
        ({"infer_pip_packages": "yes"}, "infer_pip_packages must be True or False"),
        ({"conda_override_channels": 1}, "conda_override_channels must be True or False"),
        ({"requirements_txt_file": "a\nb"}, "newline"),
        ({"conda_env_yml_file": 3}, "must be text"),
        ({"conda_channels": "conda-forge"}, "must be a list"),
        ({"conda_channels": ["a\tb"]}, "control character"),
        ({"conda_dependencies": ["a\nb"]}, "newline"),
        ({"conda_dependencies": ["--evil"]}, "begins with '-'"),
        ({"zipimport_archives": "a.zip"}, "must be a list"),
        ({"setup_sh": ""}, "must be a script or the path of one"),
        ({"setup_sh": 1}, "must be a script"),
        ({"setup_sh": "#!/bin/sh\n\0"}, "NUL"),
        ({"setup_sh": "path\twith.tab"}, "control character"),
        ({"docker_base_image": "python:3.11\nRUN evil"}, "malformed"),
        ({"docker_base_image": "python $(evil)"}, "malformed"),
        ({"docker_base_image": "--platform=x"}, "malformed"),
        ({"docker_base_image": "${IMAGE}"}, "malformed"),
        ({"pip_package": ["numpy"]}, "no option 'pip_package'; it has: pip_packages"),
    ],
)
def test_a_value_that_would_mean_something_else_is_refused(options: dict[str, Any], message: str) -> None:
    """S16: one string stays one line, one word and one instruction wherever it is written."""
    with pytest.raises(UsageError, match=message) as caught:
        environment_from(options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ("pip_dependencies", "pip_packages", ["numpy"]),
        ("auto_pip_dependencies", "infer_pip_packages", True),
        ("conda_overwrite_channels", "conda_override_channels", True),
    ],
)
def test_older_names_work_and_warn(old: str, new: str, value: Any) -> None:
    """BentoML's deprecated options."""
    with pytest.warns(DeprecationWarning, match=f"{old} is now called {new}"):
        assert getattr(environment_from({old: value}), new) == value
    with pytest.warns(DeprecationWarning, match=old), pytest.raises(UsageError, match="give one of them"):
        environment_from({old: value, new: value})


def test_the_conda_environment_is_a_dict_for_yaml() -> None:
    """Python pinned to its two numbers, pip for the rest, channels in order."""
    environment = environment_from({"conda_channels": ["conda-forge"], "conda_dependencies": ["gdal=3.8", "pip=24"]})
    rendered = environment.conda_environment("iris", "3.11.7")
    assert rendered == {"name": "iris", "channels": ["conda-forge"], "dependencies": ["python=3.11", "pip", "gdal=3.8"]}
    assert yaml.safe_load(yaml.safe_dump(rendered)) == rendered


def test_overriding_channels_shuts_the_default_ones_out() -> None:
    """As BentoML writes it."""
    environment = environment_from({"conda_channels": ["conda-forge"], "conda_override_channels": True})
    assert environment.conda_environment("x", "3.11")["channels"] == ["conda-forge", "nodefaults"]
    assert environment_from({}).conda_environment("x", "3.11")["channels"] == ["defaults"]


def test_a_python_of_the_users_own_is_kept() -> None:
    """It is not pinned twice, under any channel's prefix; python-dateutil is no python."""
    environment = environment_from({"conda_dependencies": ["conda-forge::python=3.10", "python-dateutil"]})
    assert environment.conda_environment("x", "3.11.7")["dependencies"] == [
        "pip",
        "conda-forge::python=3.10",
        "python-dateutil",
    ]


def test_a_conda_file_replaces_all_of_conda(tmp_path: Path) -> None:
    """Read safely, when it is asked for."""
    (tmp_path / "env.yml").write_text("name: mine\ndependencies: [r-base]\n")
    environment = environment_from({"conda_env_yml_file": "env.yml", "conda_dependencies": ["x"]})
    rendered = environment.conda_environment("x", "3.11", folders=[tmp_path])
    assert rendered == {"name": "mine", "dependencies": ["r-base"]}


@pytest.mark.parametrize("text", ["- a\n", "a: [", "!!python/object/apply:os.mkdir [canary]\n"])
def test_a_broken_conda_file_is_one_line(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And runs nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "env.yml").write_text(text)
    environment = environment_from({"conda_env_yml_file": "env.yml"})
    with pytest.raises(UsageError, match=r"conda_env_yml_file env\.yml") as caught:
        environment.conda_environment("x", "3.11")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "canary").exists()


def test_a_conda_name_with_a_newline_is_refused() -> None:
    """It comes from a bundle's name."""
    with pytest.raises(UsageError, match="cannot name a conda environment"):
        environment_from({}).conda_environment("x\ny", "3.11")


def test_the_setup_script_is_content_or_a_path(tmp_path: Path) -> None:
    """A first line #! or a newline is content; anything else is a path, read when it is asked for."""
    script = "#!/bin/bash\napt-get install -y libgomp1\n"
    (tmp_path / "setup.sh").write_text(script)
    assert environment_from({"setup_sh": script}).setup_script() == script
    assert environment_from({"setup_sh": "./setup.sh"}).setup_script(folders=[tmp_path]) == script
    assert environment_from({"setup_sh": str(tmp_path / "setup.sh")}).setup_script() == script
    assert environment_from({}).setup_script() is None


def test_a_file_that_is_not_there_is_named_with_its_option(tmp_path: Path) -> None:
    """At saving; declaring it where a bundle is loaded must not fail."""
    environment = environment_from({"setup_sh": "gone.sh", "requirements_txt_file": "gone.txt"})
    with pytest.raises(UsageError, match=r"setup_sh names the file 'gone\.sh'.*correct the path"):
        environment.setup_script(folders=[tmp_path])
    with pytest.raises(UsageError, match=r"requirements_txt_file names the file 'gone\.txt'"):
        environment.requirements_lines()
    (tmp_path / "gone.sh").write_bytes(b"\xff\n")
    with pytest.raises(UsageError, match="cannot be read as UTF-8"):
        environment.setup_script(folders=[tmp_path])


def test_the_first_folder_that_has_the_file_wins(tmp_path: Path) -> None:
    """The working directory before the service's folder."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
    assert find_file("x", "f", [tmp_path / "a", tmp_path / "b"]) == tmp_path / "a" / "f"


def test_the_manifest_has_what_was_declared() -> None:
    """JSON values; nothing is read."""
    environment = environment_from({"pip_packages": ["numpy"], "setup_sh": "gone.sh", "infer_pip_packages": True})
    expected = {"pip_packages": ["numpy"], "setup_sh": "gone.sh", "infer_pip_packages": True}
    assert json.loads(json.dumps(environment.to_manifest())) == expected
    assert environment_from({}).to_manifest() == {}


def test_a_copy_can_be_added_to() -> None:
    """The class's own stays as it was declared."""
    declared = environment_from({"pip_packages": ["numpy"]})
    copy = declared.copy()
    copy.add_pip_packages(["scipy", "numpy"])
    copy.add_conda_channels(["conda-forge", "conda-forge"])
    copy.add_conda_dependencies(["openjdk"])
    assert (copy.pip_packages, copy.conda_channels, copy.conda_dependencies) == (
        ["numpy", "scipy"],
        ["conda-forge"],
        ["openjdk"],
    )
    assert declared == environment_from({"pip_packages": ["numpy"]})
    with pytest.raises(UsageError, match="begins with '-'"):
        copy.add_pip_packages(["-r evil.txt"])


@pytest.mark.parametrize(
    ("requirement", "name"),
    [
        ("Scikit_Learn[x]>=1", "scikit-learn"),
        ("a.b @ https://x", "a-b"),
        ("numpy", "numpy"),
        ("x; python_version>'3'", "x"),
    ],
)
def test_a_distribution_has_one_name(requirement: str, name: str) -> None:
    """PEP 503."""
    assert distribution_of(requirement) == name
