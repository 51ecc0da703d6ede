"""Tests of bentobatch.cli.bundles: ``info`` and ``list``."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bentobatch.bundle.layout import MANIFEST
from bentobatch.bundle.manifest import FORMAT_VERSION, KIND, manifest_text
from bentobatch.cli.bundles import age_text, size_text, table_lines
from bentobatch.cli.main import main


def save(folder: Path, name: str, version: str, **more: Any) -> Path:
    """A bundle's manifest in ``folder``; neither command needs more of a bundle."""
    content = {
        "version": "0.1.0",
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "metadata": {
            "created_at": datetime.datetime(2026, 1, int(version), 12, 30),
            "service_name": name,
            "service_version": version,
            "module_name": "service",
            "class_name": name,
        },
        "env": {},
        "apis": [{"name": "predict", "input_type": "DataframeInput", "output_type": "DefaultOutput"}],
        "artifacts": [{"name": "model", "artifact_type": "PickleArtifact"}],
        "files": {},
        **more,
    }
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text(manifest_text(content), encoding="utf-8")
    return folder


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the local repository, which does not exist yet."""
    monkeypatch.setenv("BENTOBATCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "repository"


def lines(*words: str, capfd: Any, code: int = 0) -> list[str]:
    assert main(list(words)) == code
    return capfd.readouterr().out.splitlines()


def test_list_shows_the_newest_of_each_name_first(repository: Path, capfd) -> None:
    """A header and one aligned line for each bundle."""
    save(repository / "Iris" / "1", "Iris", "1", labels={"framework": "sklearn", "cohort": "a"})
    save(repository / "Iris" / "20", "Iris", "20")
    save(repository / "Ask" / "3", "Ask", "3")
    assert main(["list"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    shown = [re.sub(r"  \d+ weeks?( and \d+ \w+)?  +", "  AGE  ", line) for line in out.splitlines()]
    assert re.fullmatch(r"BENTO_SERVICE  AGE +APIS +ARTIFACTS +LABELS", shown[0])
    assert shown[1:] == [
        "Ask:3          AGE  predict<DataframeInput:DefaultOutput>  model<PickleArtifact>",
        "Iris:20        AGE  predict<DataframeInput:DefaultOutput>  model<PickleArtifact>",
        "Iris:1         AGE  predict<DataframeInput:DefaultOutput>  model<PickleArtifact>  cohort=a, framework=sklearn",
    ]


def test_list_chooses_and_orders(repository: Path, capfd) -> None:
    """--labels, --limit, --offset, --order-by, --ascending-order."""
    for version, name in ((1, "B"), (2, "A"), (3, "B")):
        save(repository / name / str(version), name, str(version), labels={"n": str(version)})

    def tags(*words: str) -> list[str]:
        return [line.split()[0] for line in lines("list", *words, capfd=capfd)[1:]]

    assert tags() == ["A:2", "B:3", "B:1"]
    assert tags("--order-by", "created_at") == ["B:3", "A:2", "B:1"]
    assert tags("--order-by", "created_at", "--ascending-order", "--offset", "1", "--limit", "1") == ["A:2"]
    assert tags("--labels", "n NotIn (1, 2), m DoesNotExist") == ["B:3"]
    assert tags("--repository-url", str(repository.parent / "elsewhere")) == []
    assert lines("list", "--labels", "n==1", capfd=capfd, code=2) == []


def test_list_in_other_forms(repository: Path, capfd) -> None:
    """JSON and YAML hold the same, the objects of `get`; wide has more columns."""
    folder = save(repository / "Iris" / "1", "Iris", "1")
    values = json.loads("\n".join(lines("list", "-o", "json", capfd=capfd)))
    assert yaml.safe_load("\n".join(lines("list", "-o", "yaml", capfd=capfd))) == values
    assert values[0]["uri"] == {"type": "LOCAL", "uri": str(folder)}
    header, line = lines("list", "-o", "wide", capfd=capfd)
    assert header.split()[-3:] == ["SIZE", "DIGEST", "URI"]
    assert line.split()[-2:] == [values[0]["digest"], str(folder)]


def test_get_of_a_version_is_the_json_that_bentoml_users_know(repository: Path, capfd) -> None:
    """name, version, uri, bentoServiceMetadata with env, artifacts and apis; --labels is ignored there."""
    folder = save(repository / "Iris" / "1", "Iris", "1", labels={"a": "b"},
                  env={"pip_packages": ["six", "numpy"], "python_version": "3.11.7", "conda_env": {"name": "x"}},
                  apis=[{"name": "predict", "docs": "Predicts.", "input_type": "DataframeInput",
                         "input_config": {"orient": "records", "dtypes": None}}],
                  artifacts=[{"name": "model", "artifact_type": "PickleArtifact",
                              "metadata": {"accuracy": 0.9}}])  # fmt: skip
    for bento in ("Iris:1", "Iris:latest"):
        value = json.loads("\n".join(lines("get", bento, "--labels", "nothing=here", capfd=capfd)))
        assert (value["name"], value["version"]) == ("Iris", "1")
        assert value["uri"] == {"type": "LOCAL", "uri": str(folder)}
        metadata = value["bentoServiceMetadata"]
        assert metadata["createdAt"] == "2026-01-01T12:30:00.000000Z"
        assert metadata["labels"] == {"a": "b"}
        assert metadata["env"]["condaEnv"] == "name: x\n"
        assert metadata["env"]["pipDependencies"] == "six\nnumpy"
        assert metadata["artifacts"] == [
            {"name": "model", "artifactType": "PickleArtifact", "metadata": {"accuracy": 0.9}}
        ]
        (api,) = metadata["apis"]
        assert (api["name"], api["InputType"], api["docs"]) == ("predict", "DataframeInput", "Predicts.")
        assert api["inputConfig"] == {"orient": "records", "dtypes": None}
    assert lines("get", "Iris:latest", "--print-location", "--quiet", capfd=capfd) == [str(folder)]


def test_get_of_a_name_lists_its_versions(repository: Path, capfd) -> None:
    """With CREATED_AT instead of AGE; a name that is not there is exit 66, a selector that matches none is not."""
    save(repository / "Iris" / "1", "Iris", "1", labels={"a": "b"})
    save(repository / "Iris" / "2", "Iris", "2")
    save(repository / "Iris2" / "1", "Iris2", "1")
    header, *rows = lines("get", "Iris", capfd=capfd)
    assert header.split() == ["BENTO_SERVICE", "CREATED_AT", "APIS", "ARTIFACTS", "LABELS"]
    assert [row.split()[:3] for row in rows] == [["Iris:2", "2026-01-02", "12:30"], ["Iris:1", "2026-01-01", "12:30"]]
    assert len(lines("get", "Iris", "--labels", "a=b", capfd=capfd)) == 2
    assert len(lines("get", "Iris", "--labels", "a=c", capfd=capfd)) == 1
    assert lines("get", "Nothing", capfd=capfd, code=66) == []
    assert lines("get", "Iris:3", capfd=capfd, code=66) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 seconds"),
        (0.4, "0 seconds"),
        (1, "1 second"),
        (61, "1 minute and 1 second"),
        (86400 + 22 * 3600 + 59, "1 day and 22 hours"),
        (3 * 604800 + 4 * 3600, "3 weeks and 4 hours"),
        (13 * 604800 + 6 * 86400 + 3600, "13 weeks and 6 days"),
    ],
)
def test_an_age_has_the_two_largest_units(seconds: float, text: str) -> None:
    """As BentoML shows it."""
    assert age_text(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")])
def test_a_size_is_for_people(size: int, text: str) -> None:
    """In powers of 1024."""
    assert size_text(size) == text


def test_list_of_nothing_is_a_header(repository: Path, capfd) -> None:
    """A repository that does not exist yet is an empty one, and is not made by looking."""
    assert lines("list", capfd=capfd) == ["BENTO_SERVICE  AGE  APIS  ARTIFACTS  LABELS"]
    assert not repository.parent.exists()


def test_list_into_head_is_quiet(repository: Path, bentobatch_process, tmp_path: Path) -> None:
    """``bentobatch list | head -1``: no BrokenPipe traceback, exit 0."""
    for number in range(1, 10):
        save(repository / "Iris" / str(number), "Iris", str(number))
    process = bentobatch_process("list", env={"BENTOBATCH_HOME": str(tmp_path / "home")})
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""


def test_info_is_the_manifest_as_json(repository: Path, capfd) -> None:
    """By folder or by tag; times as ISO texts, the bytes of a setup script in base64."""
    folder = save(repository / "Iris" / "5", "Iris", "5", env={"setup_sh": b"echo \xff"})
    for ref in (str(folder), "Iris:5", "Iris:latest"):
        assert main(["info", ref]) == 0
        content = json.loads(capfd.readouterr().out)
        assert content["metadata"]["created_at"] == "2026-01-05T12:30:00"
        assert content["env"] == {"setup_sh": "ZWNobyD/"}
        assert content["apis"][0]["name"] == "predict"


def test_info_shows_control_characters_escaped(repository: Path, capfd) -> None:
    """A bundle from elsewhere must not move the cursor; the value stays what it is."""
    docs = "caf\u00e9\x1b[2J\x9b31m\u202e\U000e0001"
    save(repository / "Iris" / "5", "Iris", "5", apis=[{"name": "predict", "docs": docs}])
    assert main(["info", "Iris:5"]) == 0
    out = capfd.readouterr().out
    assert "caf\u00e9" in out
    assert all(char.isprintable() or char == "\n" for char in out)
    assert json.loads(out)["apis"][0]["docs"] == docs


@pytest.mark.parametrize("ref", ["Nothing:1", "Nothing:latest", "no/such/folder", "nothing"])
def test_info_of_no_bundle_is_one_line(ref: str, repository: Path, capfd) -> None:
    """Exit 66."""
    assert main(["info", ref]) == 66
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("bentobatch: no bundle ")


def test_cells_that_would_break_the_table_are_escaped() -> None:
    """One bundle is one line."""
    assert list(table_lines([("A", "B"), ("x\ny", "\x1b")])) == ["A    B", "x y  \\x1b"]
