"""This module says what a service needs to run elsewhere (``@env``), and renders it for pip, conda and the manifest.

Nothing is read from disk before it is asked for: a loaded bundle runs the same decorators where the files are not.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from bentobatch.errors import UsageError

_DEPRECATED = {
    "pip_dependencies": "pip_packages",
    "auto_pip_dependencies": "infer_pip_packages",
    "conda_overwrite_channels": "conda_override_channels",
}
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")
_DISTRIBUTION = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass
class Environment:
    """The options of ``@env``, checked.

    ``pip_packages``: requirements such as "scikit-learn>=1.3"; options of pip belong into ``pip_index_url`` and its
    kin, or into ``requirements_txt_file``, which replaces all other pip options. ``infer_pip_packages``: add what the
    code and the packed models need. ``conda_override_channels``: use ``conda_channels`` only. ``conda_env_yml_file``
    replaces all other conda options. ``setup_sh``: a shell script, or its path. ``zipimport_archives``: paths of zip
    files to import from, which go along as they are. Paths are relative to the working directory at saving, or to the
    service's own folder.

    Raises:
        UsageError: a value has the wrong type, or characters that would mean something else where it is written.
    """

    pip_packages: list[str]
    pip_index_url: str | None = None
    pip_trusted_host: str | None = None
    pip_extra_index_url: str | None = None
    infer_pip_packages: bool = False
    requirements_txt_file: str | None = None
    conda_channels: list[str] | None = None
    conda_override_channels: bool = False
    conda_dependencies: list[str] | None = None
    conda_env_yml_file: str | None = None
    setup_sh: str | None = None
    docker_base_image: str | None = None
    zipimport_archives: list[str] | None = None

    def __post_init__(self) -> None:
        self.pip_packages = [_checked_requirement(package) for package in _texts("pip_packages", self.pip_packages)]
        for option in ("pip_index_url", "pip_trusted_host", "pip_extra_index_url"):
            _check_word(option, getattr(self, option))
        for option in ("infer_pip_packages", "conda_override_channels"):
            if not isinstance(getattr(self, option), bool):
                raise UsageError(f"@env: {option} must be True or False, not {getattr(self, option)!r}")
        for option in ("requirements_txt_file", "conda_env_yml_file"):
            _check_text(option, getattr(self, option))
        for option in ("conda_channels", "conda_dependencies", "zipimport_archives"):
            if getattr(self, option) is not None:
                setattr(self, option, _texts(option, getattr(self, option)))
        self._check_setup_sh()
        if self.docker_base_image is not None and not is_image(self.docker_base_image):
            raise UsageError(
                f"@env: docker_base_image {self.docker_base_image!r} is malformed; write one such as 'python:3.11-slim'"
            )

    def add_pip_packages(self, packages: Sequence[str]) -> None:
        """Add requirements, each once (for ``set_dependencies`` of a custom artifact, as in BentoML 0.13)."""
        for package in map(_checked_requirement, _texts("pip_packages", packages)):
            if package not in self.pip_packages:
                self.pip_packages.append(package)

    def add_conda_dependencies(self, dependencies: Sequence[str]) -> None:
        """Add conda packages, each once."""
        self.conda_dependencies = _joined(self.conda_dependencies, _texts("conda_dependencies", dependencies))

    def add_conda_channels(self, channels: Sequence[str]) -> None:
        """Add conda channels, each once."""
        self.conda_channels = _joined(self.conda_channels, _texts("conda_channels", channels))

    def requirements_lines(self, inferred: Sequence[str] = (), *, folders: Sequence[Path] | None = None) -> list[str]:
        """The lines of requirements.txt.

        ``inferred`` are requirements that the saver found; one whose distribution is declared already is left out.
        ``requirements_txt_file`` is taken as it stands, and nothing is added. ``folders``: see ``find_file``.

        Raises:
            UsageError: requirements_txt_file cannot be read.
        """
        if self.requirements_txt_file is not None:
            return _read("requirements_txt_file", self.requirements_txt_file, folders).splitlines()
        lines = [
            f"{option} {value}"
            for option, value in (
                ("--index-url", self.pip_index_url),
                ("--trusted-host", self.pip_trusted_host),
                ("--extra-index-url", self.pip_extra_index_url),
            )
            if value is not None
        ]
        declared = {distribution_of(package) for package in self.pip_packages}
        added = [_checked_requirement(package) for package in inferred if distribution_of(package) not in declared]
        return lines + list(dict.fromkeys([*self.pip_packages, *added]))

    def conda_environment(
        self, name: str, python_version: str, *, folders: Sequence[Path] | None = None
    ) -> dict[str, Any]:
        """environment.yml as a dict; ``python_version`` such as "3.11.7" is pinned to its first two numbers.

        ``conda_env_yml_file`` is taken as it stands. ``folders``: see ``find_file``.

        Raises:
            UsageError: the name is malformed, or conda_env_yml_file cannot be read or is no mapping.
        """
        if self.conda_env_yml_file is not None:
            text = _read("conda_env_yml_file", self.conda_env_yml_file, folders)
            try:
                given = yaml.safe_load(text)
            except yaml.YAMLError as error:
                reason = " ".join(str(error).split())
                raise UsageError(f"@env: conda_env_yml_file {self.conda_env_yml_file} is not YAML: {reason}") from error
            if not isinstance(given, dict):
                raise UsageError(
                    f"@env: conda_env_yml_file {self.conda_env_yml_file} holds no mapping: see conda's docs"
                )
            return given
        if not _ENVIRONMENT_NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot name a conda environment: use letters, digits, '.', '_' and '-'")
        channels = list(self.conda_channels or ([] if self.conda_override_channels else ["defaults"]))
        if self.conda_override_channels and "nodefaults" not in channels:
            channels.append("nodefaults")
        python = "python=" + ".".join(python_version.split(".")[:2])
        dependencies = [package for package in self.conda_dependencies or [] if not _is_conda_package(package, "pip")]
        pinned = [] if any(_is_conda_package(package, "python") for package in dependencies) else [python]
        return {"name": name, "channels": channels, "dependencies": [*pinned, "pip", *dependencies]}

    def setup_script(self, *, folders: Sequence[Path] | None = None) -> str | None:
        """The text of the setup script, read from its path where ``setup_sh`` is one. ``folders``: see ``find_file``.

        Raises:
            UsageError: the path cannot be read.
        """
        if self.setup_sh is None or _is_script(self.setup_sh):
            return self.setup_sh
        return _read("setup_sh", self.setup_sh, folders)

    def to_manifest(self) -> dict[str, Any]:
        """The declared options as JSON values; what was not declared is left out. Paths stay paths: nothing is read."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value not in (None, [], False)}

    def copy(self) -> Environment:
        """Another one with the same options, which may be added to."""
        return environment_from({field.name: getattr(self, field.name) for field in fields(self)})

    def _check_setup_sh(self) -> None:
        if self.setup_sh is None:
            return
        if not isinstance(self.setup_sh, str) or not self.setup_sh.strip():
            raise UsageError(f"@env: setup_sh must be a script or the path of one, as text, not {self.setup_sh!r}")
        if "\0" in self.setup_sh:
            raise UsageError("@env: setup_sh holds a NUL character: no shell reads that")
        if not _is_script(self.setup_sh):
            _check_text("setup_sh", self.setup_sh)


def environment_from(options: Mapping[str, Any]) -> Environment:
    """The environment that ``@env(**options)`` declares, older names included.

    Raises:
        UsageError: an option is unknown, is given under two names, or has a malformed value.
    """
    known = [field.name for field in fields(Environment)]
    values: dict[str, Any] = {"pip_packages": []}
    for option, value in options.items():
        name = _DEPRECATED.get(option, option)
        if name not in known:
            raise UsageError(f"@env has no option {option!r}; it has: {', '.join(known)}")
        if name != option:
            warnings.warn(f"@env: {option} is now called {name}", DeprecationWarning, stacklevel=3)
            if name in options:
                raise UsageError(f"@env: {option} is the older name of {name}: give one of them")
        values[name] = [] if value is None and name == "pip_packages" else value
    return Environment(**values)


def find_file(option: str, path: str, folders: Sequence[Path] | None = None) -> Path:
    """The file that ``path`` means: relative to the first of ``folders`` that has it (default: the working directory).

    Raises:
        UsageError: none has it; the message names the option.
    """
    searched = [Path.cwd()] if folders is None else list(folders)
    for folder in searched:
        found = folder / Path(path).expanduser()
        if found.is_file():
            return found
    where = ", ".join(str(folder) for folder in searched)
    raise UsageError(f"@env: {option} names the file {path!r}, which is not in {where}: correct the path")


def distribution_of(requirement: str) -> str:
    """The normalised name of the distribution in a requirement ("Scikit_Learn[x]>=1" -> "scikit-learn"; PEP 503)."""
    match = _DISTRIBUTION.match(requirement)
    return re.sub(r"[-_.]+", "-", match[1]).lower() if match else requirement


def is_image(name: Any) -> bool:
    """Whether ``name`` can be that of a container image, and nothing more: no blank, no quote, no ``$``."""
    return isinstance(name, str) and _IMAGE.fullmatch(name) is not None


def has_control_characters(text: str) -> bool:
    """Whether the text has newlines or other characters that could end a line or hide in one."""
    return any(unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp", "Cs") for character in text)


def _is_script(setup_sh: str) -> bool:
    return "\n" in setup_sh or setup_sh.startswith("#!")


def _is_conda_package(spec: str, name: str) -> bool:
    return re.split(r"[\s=<>!~\[]", spec.rpartition("::")[2], maxsplit=1)[0] == name


def _joined(present: list[str] | None, added: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*(present or []), *added]))


def _read(option: str, path: str, folders: Sequence[Path] | None) -> str:
    found = find_file(option, path, folders)
    try:
        return found.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"@env: {option} {found} cannot be read as UTF-8 text: {error}") from error


def _texts(option: str, values: Any) -> list[str]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise UsageError(f"@env: {option} must be a list, such as [{values!r}], not {type(values).__name__}")
    for value in values:
        _check_text(option, "" if value is None else value)
        if value.startswith("-"):
            raise UsageError(f"@env: {value!r} in {option} begins with '-', as an option does: write names only")
    return list(values)


def _check_text(option: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"@env: {option} must be text, not {value!r}")
    if has_control_characters(value):
        raise UsageError(f"@env: {option} holds a newline or a control character ({value!r}): remove it")


def _check_word(option: str, value: Any) -> None:
    _check_text(option, value)
    if value is not None and (value.startswith("-") or any(character.isspace() for character in value)):
        raise UsageError(f"@env: {option} {value!r} must be one word that does not begin with '-'")
    if value is not None:
        _check_line_end(value)


def _checked_requirement(package: str) -> str:
    """A line of requirements.txt that names one distribution, and no option of pip among its words."""
    option = next((word for word in package.split() if word.startswith("-")), None)
    if option is not None:
        raise UsageError(
            f"@env: {package!r} in pip_packages holds pip's option {option!r}: use pip_index_url and its kin, or put "
            "the lines into a file and name it as requirements_txt_file"
        )
    _check_line_end(package)
    return package


def _check_line_end(text: str) -> None:
    """Refuse what would join the next line of requirements.txt to its own."""
    if text.endswith("\\"):
        raise UsageError(f"@env: {text!r} ends with a backslash, which means to pip that the line goes on: remove it")
