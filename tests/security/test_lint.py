"""This module reads our own source for calls that run code out of data: pickles, eval, shells, unsafe YAML (S02, S31).

The allowed places are listed one by one. A new one has to be written down here, where a reviewer sees it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREES = ("bentobatch", "integrations", "dags")

MODULES = {"pickle", "_pickle", "cloudpickle", "joblib", "dill", "marshal", "shelve"}
"""Modules whose loading runs what the data says; importing one is a finding, of a part of it too."""
LOADERS = {
    *("SourceLoader", "SourceFileLoader", "SourcelessFileLoader", "ExtensionFileLoader"),
    *("source_to_code", "exec_module", "load_module", "run_path", "run_module"),
}
"""Attributes, of whatever, that run a module."""
BUILTINS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    "os": {"system", "popen"},
    "yaml": {"load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all", "Loader"}
    | {"FullLoader", "UnsafeLoader", "CLoader", "CFullLoader", "CUnsafeLoader"},
    "torch": {"load"},
    "pd": {"read_pickle", "eval"},
    "pandas": {"read_pickle", "eval"},
    "pa": {"register_extension_type", "deserialize_pandas", "ExtensionType", "PyExtensionType"},
    "pyarrow": {"register_extension_type", "deserialize_pandas", "ExtensionType", "PyExtensionType"},
    "tarfile": {"open"},
    "subprocess": {"getoutput", "getstatusoutput"},
    "shutil": {"unpack_archive"},
    "tempfile": {"mktemp"},  # S18: a name that somebody else may take first
}

ALLOWED = {
    # the one place that unpickles models, and reads their names without doing so
    "bentobatch/frameworks/unpickle.py": {"import pickle", "torch.load"},
    "bentobatch/frameworks/torch_archives.py": {"torch.load"},  # with weights_only
    "bentobatch/frameworks/pickle_names.py": {
        "import pickle",
        "import joblib.compressor",
        "import joblib.numpy_pickle_utils",
    },
    "bentobatch/frameworks/joblib_stream.py": {"import pickle", "import joblib.numpy_pickle"},
    # the program that holds the models of a verified bundle in a process of an older Python
    "bentobatch/frameworks/model_host.py": {"import pickle", "import cloudpickle", "import joblib"},
    # the loader of a bundle's own modules, whose sha256 was compared with the manifest's
    "bentobatch/bundle/imports.py": {
        "builtins.__import__",
        "importlib.__import__",
        ".SourceLoader",
        ".ExtensionFileLoader",
        ".source_to_code",
        ".exec_module",
    },
    # what that code sees under the name of pickle, when it reads pickles of its own
    "bentobatch/bundle/stdlib_views.py": {"import pickle"},
    # OpenTelemetry's reader of the header traceparent, which unpacks no archive
    "bentobatch/engine/tracing.py": {"TraceContextTextMapPropagator().extract()"},
}


def findings(source: str) -> Iterator[tuple[int, str]]:
    """(line, what) of everything in ``source`` that the lint looks for."""
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import):
            yield from ((line, f"import {name.name}") for name in node.names if _top(name.name) in MODULES)
            aliased = (name for name in node.names if name.asname and _top(name.name) in ATTRIBUTES)
            known = {"numpy": "np", "pandas": "pd", "pyarrow": "pa"}
            yield from ((line, f"{name.name} as {name.asname}") for name in aliased if known.get(name.name) != name.asname
                        and "." not in name.name)  # fmt: skip
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            if _top(node.module) in MODULES:
                yield line, f"import {node.module}"
            yield from (
                (line, f"{node.module}.{name.name}")
                for name in node.names
                if name.name in ATTRIBUTES.get(node.module, ())
            )
        elif isinstance(node, ast.Name) and node.id in BUILTINS:
            yield line, node.id
        elif isinstance(node, ast.Attribute) and node.attr in LOADERS:
            yield line, f".{node.attr}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            known = node.value.id in ("builtins", "importlib") and node.attr in BUILTINS
            if known or node.attr in ATTRIBUTES.get(node.value.id, ()):
                yield line, f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Call):
            yield from ((line, found) for found in _call_findings(node))


def _call_findings(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    for keyword in node.keywords:
        if keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False):
            yield "shell=True"
        if keyword.arg == "allow_pickle" and name in ("np.load", "numpy.load", "np.lib.format.read_array"):
            yield "np.load(allow_pickle"
    if name.endswith((".extractall", ".extract")):
        yield f"{name}()"
    if name in ("importlib.import_module", "import_module") and node.args:
        argument = node.args[0]
        if isinstance(argument, ast.Constant) and _top(str(argument.value)) in MODULES:
            yield f"import {argument.value}"


def _top(name: str) -> str:
    return name.partition(".")[0]


def sources() -> list[Path]:
    return sorted(path for tree in TREES for path in (ROOT / tree).rglob("*.py"))


@pytest.mark.parametrize("path", [str(path.relative_to(ROOT)) for path in sources()])
def test_no_source_runs_code_out_of_data(path: str) -> None:
    """S02: but for the places that are listed."""
    found = {(line, what) for line, what in findings((ROOT / path).read_text()) if what not in ALLOWED.get(path, ())}
    assert not found, f"{path}: {sorted(found)}: use a form that runs nothing, or list the place in tests/security"


def test_the_lists_have_nothing_that_is_not_there() -> None:
    """A stale permission would let the next one in unseen."""
    for path, allowed in ALLOWED.items():
        assert {what for _, what in findings((ROOT / path).read_text())} == allowed, path


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import cloudpickle as cp",
        "def f():\n    import joblib.numpy_pickle",
        "import marshal, json",
        "import importlib\nimportlib.import_module('dill')",
        "eval('1')",
        "f = exec",
        "import builtins\nbuiltins.eval('1')",
        "import os\nos.system('x')",
        "from os import system",
        "import os as o",
        "import yaml\nyaml.load(x, Loader=yaml.SafeLoader)",
        "from yaml import unsafe_load",
        "import subprocess\nsubprocess.run('x', shell=True)",
        "import subprocess\nsubprocess.run('x', shell=flag)",
        "import torch\ntorch.load('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import pandas as pd\npd.read_pickle('x')",
        "import pyarrow as pa\npa.register_extension_type(x)",
        "archive.extractall('x')",
        "import tarfile\ntarfile.open('x')",
        "import shutil\nshutil.unpack_archive('x')",
        "import runpy\nrunpy.run_path('x')",
        "import tempfile\ntempfile.mktemp()",
        "import importlib.machinery\nimportlib.machinery.SourceFileLoader('m', 'x')",
    ],
)
def test_the_lint_finds_each_way(source: str) -> None:
    """A lint that finds nothing proves nothing."""
    assert list(findings(source))


@pytest.mark.parametrize(
    "source",
    [
        "import yaml\nyaml.safe_load(x)\nyaml.parse(x, Loader=yaml.SafeLoader)",
        "import re\nre.compile('x')",
        "import bentobatch\nbentobatch.load('x', allow_pickle=False)",
        "import subprocess\nsubprocess.run(['x'], shell=False)",
        "import pyarrow as pa\nimport os",
        "import numpy as np\nnp.load('x')",
        "from bentobatch.frameworks.pickle import PickleArtifact",
        "from . import pickle",
    ],
)
def test_the_lint_leaves_harmless_code_alone(source: str) -> None:
    """Its findings are worth reading."""
    assert not list(findings(source))
