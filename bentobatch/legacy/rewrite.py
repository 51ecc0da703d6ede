"""This module turns ``import bentoml`` into ``import bentobatch`` where that surely means the same, and says so where not.

It knows the few names that both have, in the calls that both take. Anything else (``__init__``, which BentoML gave the
models already; own artifacts and adapters; a name in a text) leaves the code as it is, with BentoML's names provided.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bentobatch.legacy.provided import TOP

_MENTION = re.compile(rb"\bbentoml\b")
_NAME_IN_TEXT = re.compile(r"bentoml(\.\w+)*")
_API = frozenset("input output batch api_name route api_doc mb_max_batch_size mb_max_latency".split())  # noqa: SIM905
_ENV = frozenset(
    "pip_packages pip_index_url pip_trusted_host pip_extra_index_url infer_pip_packages requirements_txt_file "  # noqa: SIM905
    "conda_channels conda_override_channels conda_dependencies conda_env_yml_file setup_sh docker_base_image".split()
)
_EXAMPLES = frozenset({"http_input_example", "request_schema"})


@dataclass(frozen=True)
class _Same:
    """A name that both have. ``positional``: how many values by position mean the same; ``keywords``: those that do."""

    home: str
    positional: int
    keywords: frozenset[str]


_TOP_NAMES = {
    "api": _Same("bentobatch", 0, _API),
    "artifacts": _Same("bentobatch", 1, frozenset()),
    "env": _Same("bentobatch", 0, _ENV),
    "ver": _Same("bentobatch", 2, frozenset({"major", "minor"})),
    "web_static_content": _Same("bentobatch", 1, frozenset()),
}
_SERVICE = "BentoService"
_SAME: dict[str, dict[str, _Same]] = {
    "bentoml": _TOP_NAMES,
    "bentoml.adapters": {
        "DataframeInput": _Same("bentobatch.adapters", 0, _EXAMPLES | {"orient", "columns", "dtype"}),
        "JsonInput": _Same("bentobatch.adapters", 0, _EXAMPLES),
        "StringInput": _Same("bentobatch.adapters", 0, _EXAMPLES),
        "DefaultOutput": _Same("bentobatch.adapters", 0, frozenset()),
        "JsonOutput": _Same("bentobatch.adapters", 1, frozenset({"ensure_ascii"})),
        "DataframeOutput": _Same("bentobatch.adapters", 1, frozenset({"output_orient"})),
    },
    "bentoml.service.artifacts.common": {
        "PickleArtifact": _Same("bentobatch.frameworks.pickle", 1, frozenset({"name"})),
        "JSONArtifact": _Same("bentobatch.frameworks.json", 1, frozenset({"name", "encoding"})),
        "TextFileArtifact": _Same("bentobatch.frameworks.text", 3, frozenset({"name", "file_extension", "encoding"})),
    },
    **{
        f"bentoml.frameworks.{module}": {name: _Same(f"bentobatch.frameworks.{module}", 1, frozenset({"name"}))}
        for module, name in (
            ("sklearn", "SklearnModelArtifact"),
            ("xgboost", "XgboostModelArtifact"),
            ("lightgbm", "LightGBMModelArtifact"),
        )
    },
}


class _NotTheSameError(Exception):
    """Something in the code would, or might, mean something else."""


def mentions(source: bytes) -> bool:
    """Whether a source may use BentoML's names: it has the word, be it in a comment."""
    return _MENTION.search(source) is not None


def rewritten(sources: Mapping[str, bytes]) -> dict[str, bytes] | str:
    """The sources (by path) that had to change, as they are to be; or, in words, why they cannot be changed safely."""
    changed: dict[str, bytes] = {}
    services: set[str] = set()
    bases: set[str] = set()
    for path, source in sources.items():
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):
            if mentions(source):
                return f"{path} is no Python that can be read here"
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                named = {_last(base) for base in node.bases}
                bases |= named
                services |= {node.name} if _SERVICE in named else set()
        if not mentions(source):
            continue
        try:
            changed[path] = _Rewriting(source, tree).run()
        except _NotTheSameError as reason:
            return f"{path}: {reason}"
    if services & bases:
        return "a service derives from another one"
    return changed


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


class _Rewriting:
    """One file. Places are counted in bytes, as ast does."""

    def __init__(self, source: bytes, tree: ast.Module) -> None:
        self.tree = tree
        self.lines = source.splitlines(keepends=True)
        self.edits: list[tuple[int, int, bytes]] = []
        self.packages: set[str] = set()
        self.imported: dict[str, _Same | None] = {}
        starts = [0]
        for line in self.lines:
            starts.append(starts[-1] + len(line))
        self.starts = starts
        self.source = source

    def run(self) -> bytes:
        """The new source."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                self._import(node)
            elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == TOP:
                self._import_from(node)
        allowed = set(self._uses())
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name) and (node.id in self.packages or node.id in self.imported):
                if id(node) not in allowed:
                    raise _NotTheSameError(f"line {node.lineno} uses {node.id} in another way than a declaration does")
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME_IN_TEXT.fullmatch(node.value):
                raise _NotTheSameError(f"line {node.lineno} has the name {node.value!r} in a text")
        made = self.source
        for start, stop, text in sorted(self.edits, reverse=True):
            made = made[:start] + text + made[stop:]
        return made

    def _import(self, node: ast.Import) -> None:
        ours = [alias for alias in node.names if alias.name.split(".")[0] == TOP]
        if not ours:
            return
        if len(node.names) > 1 or ours[0].name != TOP:
            raise _NotTheSameError(f"line {node.lineno} imports a module of BentoML's as a whole")
        name = ours[0].asname
        self.packages.add(name or TOP)
        self._replace(node, f"import bentobatch as {name}" if name else "import bentobatch")

    def _import_from(self, node: ast.ImportFrom) -> None:
        parts: dict[str, list[str]] = {}
        for alias in node.names:
            same = _SAME.get(str(node.module), {}).get(alias.name)
            if same is None and not (node.module == TOP and alias.name == _SERVICE):
                raise _NotTheSameError(f"line {node.lineno} imports {alias.name} from {node.module}")
            self.imported[alias.asname or alias.name] = same
            home = "bentobatch" if same is None else same.home
            parts.setdefault(home, []).append(f"{alias.name} as {alias.asname}" if alias.asname else alias.name)
        texts = [f"from {home} import {', '.join(names)}" for home, names in parts.items()]
        self._replace(node, "; ".join(texts))

    def _uses(self) -> Iterator[int]:
        """The ids of the Name nodes that stand where both systems mean the same by them."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                same, name = self._same(node.func)
                if same is not None and name is not None:
                    self._check_call(node, same, _last(node.func) if isinstance(node.func, ast.Attribute) else name.id)
                    yield id(name)
                    self._rename(node.func, name)
            elif isinstance(node, ast.ClassDef) and any(_last(base) == _SERVICE for base in node.bases):
                if any(isinstance(part, ast.FunctionDef) and part.name == "__init__" for part in node.body):
                    raise _NotTheSameError(f"{node.name} has an __init__, where BentoML has the models already")
                for base in node.bases:
                    root = base.value if isinstance(base, ast.Attribute) else base
                    if isinstance(root, ast.Name) and _last(base) == _SERVICE:
                        yield id(root)
                        self._rename(base, root)

    def _same(self, function: ast.expr) -> tuple[_Same | None, ast.Name | None]:
        if isinstance(function, ast.Name):
            return self.imported.get(function.id), function
        root = function.value if isinstance(function, ast.Attribute) else None
        if isinstance(function, ast.Attribute) and isinstance(root, ast.Name) and root.id in self.packages:
            return _TOP_NAMES.get(function.attr), root
        return None, None

    def _check_call(self, call: ast.Call, same: _Same, name: str) -> None:
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        starred = any(isinstance(arg, ast.Starred) for arg in call.args)
        if starred or len(call.args) > same.positional or not keywords.keys() <= same.keywords:
            raise _NotTheSameError(f"line {call.lineno} calls {name} with what bentobatch's own does not take")
        if same is _TOP_NAMES["api"]:
            batch = keywords.get("batch")
            if "input" not in keywords or not isinstance(batch, (ast.Constant, type(None))):
                raise _NotTheSameError(f"line {call.lineno} declares an api in another form")

    def _rename(self, node: ast.expr, name: ast.Name) -> None:
        if isinstance(node, ast.Attribute) and name.id == TOP:
            self._replace(name, "bentobatch")

    def _replace(self, node: ast.stmt | ast.expr, text: str) -> None:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self.starts[node.lineno - 1] + node.col_offset
        stop = self.starts[node.end_lineno - 1] + node.end_col_offset
        self.edits.append((start, stop, text.encode()))
