"""This module tests the decorators that declare a service."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from bentobatch.adapters.base import Converted, InputAdapter, OutputAdapter
from bentobatch.errors import UsageError
from bentobatch.frameworks.json import JSONArtifact
from bentobatch.frameworks.text import TextFileArtifact
from bentobatch.plugins import find
from bentobatch.service.core import ServiceCore
from bentobatch.service.declarations import RESERVED_API_NAMES, api, artifacts, env, ver, web_static_content


class Rows(InputAdapter):
    """An input adapter that takes one value or many."""

    def table_from_text(self, text: bytes, *, columns: Any = None) -> pa.Table:
        raise NotImplementedError

    def convert(self, batch: pa.RecordBatch) -> Converted:
        return Converted((batch,), batch.num_rows)


class Frames(Rows):
    batch_only = True


class Pairs(Rows):
    input_names = ("left", "right")


class Out(OutputAdapter):
    def columns(self, result: Any, *, name: str = "", classes: Any = None, schema: Any = None) -> pa.RecordBatch:
        raise NotImplementedError


def declared(**options: Any) -> Any:
    """The api that the options declare on an ordinary method."""

    class Service(ServiceCore):
        @api(**{"input": Rows(), "output": Out(), **options})
        def predict(self, data: Any) -> Any:
            """Say it again."""
            return data

    return Service().inference_apis[0]


def test_the_defaults_are_those_of_bentoml() -> None:
    """Names, batch=False, 4000 rows, 20000 ms, the docstring, a route of the same name."""
    found = declared()
    assert (found.name, found.route, found.doc) == ("predict", "predict", "Say it again.")
    assert (found.batch, found.mb_max_batch_size, found.mb_max_latency) == (False, 4000, 20000)
    assert (found.output_schema, found.row_independent, found.wants_tasks) == (None, True, False)


def test_every_option_is_kept() -> None:
    """What was declared is what the api says."""
    found = declared(
        batch=True,
        api_name="score",
        route="v1/score",
        api_doc="Another.",
        mb_max_batch_size=7,
        mb_max_latency=8,
        output_schema={"score": "float32"},
        row_independent=False,
    )
    assert (found.batch, found.name, found.route, found.doc) == (True, "score", "v1/score", "Another.")
    assert (found.mb_max_batch_size, found.mb_max_latency, found.row_independent) == (7, 8, False)
    assert found.output_schema == pa.schema([("score", pa.float32())])


def test_the_method_stays_an_ordinary_method() -> None:
    """``svc.predict(...)`` is plain Python, with or without tasks."""

    class Service(ServiceCore):
        @api(input=Rows(), output=Out())
        def predict(self, data: Any, task: Any = "none") -> Any:
            return data, task

    assert Service().predict([[1]]) == ([[1]], "none")
    assert Service().predict([[1]], "t") == ([[1]], "t")


def test_an_api_without_docstring_says_bentomls_words() -> None:
    """docs is never empty."""

    class Service(ServiceCore):
        @api(input=Rows(), output=Out())
        def predict(self, data: Any) -> Any:
            return data

    words = "BentoService inference API 'predict', input: 'Rows', output: 'Out'"
    assert Service().inference_apis[0].doc == words


def test_the_output_is_the_default_one() -> None:
    """Chosen by what the function returns."""
    assert type(declared(output=None).output) is find("adapters", "DefaultOutput")


def test_an_adapter_class_is_made_an_instance() -> None:
    """BentoML's older manner, also by position."""

    class Service(ServiceCore):
        @api(Rows, Out)
        def predict(self, data: Any) -> Any:
            return data

    found = Service().inference_apis[0]
    assert (type(found.input), type(found.output)) == (Rows, Out)


def test_an_adapter_of_whole_batches_needs_batch() -> None:
    """Refused at decoration, in the words that the user has to write."""
    with pytest.raises(UsageError, match=r"Frames takes a whole batch: declare @api\(input=Frames\(\), batch=True\)"):
        declared(input=Frames())
    assert declared(input=Frames(), batch=True).batch


def test_dataframe_input_needs_batch() -> None:
    """The sentence of the issue, with the adapter itself."""
    frames = find("adapters", "DataframeInput")
    with pytest.raises(
        UsageError, match=r"DataframeInput takes a whole batch: declare @api\(input=DataframeInput\(\), batch=True\)"
    ):
        declared(input=frames())
    assert declared(input=frames(), batch=True).input.batch_only


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input": None}, "has no input: write @api"),
        ({"input": 3}, "input must be an input adapter"),
        ({"input": Out()}, "input must be an input adapter"),
        ({"output": Rows()}, "output must be an output adapter"),
        ({"output": "json"}, "output must be an output adapter"),
        ({"batch": "yes"}, "batch must be True or False"),
        ({"row_independent": 1}, "row_independent must be True or False"),
        ({"api_name": "a-b"}, "not a plain Python identifier"),
        ({"api_name": ""}, "not a plain Python identifier"),
        ({"api_name": 1}, "not a plain Python identifier"),
        ({"api_doc": 1}, "api_doc must be text"),
        ({"mb_max_batch_size": 0}, "mb_max_batch_size must be a whole number of rows from 1"),
        ({"mb_max_batch_size": True}, "mb_max_batch_size"),
        ({"mb_max_latency": 1.5}, "mb_max_latency must be a whole number of milliseconds from 1"),
        ({"mb_max_latency": -1}, "mb_max_latency"),
        ({"output_schema": 1}, "output_schema must be"),
        ({"output_schema": {"a": "flaot"}}, "column 'a' has the type 'flaot'"),
    ],
)
def test_a_senseless_option_is_refused_with_the_place(options: dict[str, Any], message: str) -> None:
    """Each message names the decorated method and the option."""
    with pytest.raises(UsageError, match=message) as caught:
        declared(**options)
    assert "predict" in str(caught.value)


@pytest.mark.parametrize("name", sorted(RESERVED_API_NAMES))
def test_the_servers_own_paths_are_reserved(name: str) -> None:
    """As a name and as a route, with or without slashes."""
    for options in ({"api_name": name}, {"route": name}, {"route": f"/{name}/"}):
        with pytest.raises(UsageError, match="a path of the server itself"):
            declared(**options)


@pytest.mark.parametrize(
    "name",
    ["index", "swagger", "docs", "healthz", "metrics", "feedback", "livez", "readyz", "metadata", "openapi.json"],
)
def test_the_reserved_names_are_all_there(name: str) -> None:
    """Those of BentoML 0.13 and those of the health checks."""
    assert name in RESERVED_API_NAMES


@pytest.mark.parametrize(
    "route", ["", "/", "a?b", "a#b", "//a", ":a", "a b", "a\nb", "../a", "a/../b", "a/./b", "a\\b", "%2e", 1]
)
def test_a_malformed_route_is_refused(route: Any) -> None:
    """BentoML's rules, and nothing that a proxy could read otherwise."""
    with pytest.raises(UsageError, match="route"):
        declared(route=route)


@pytest.mark.parametrize("route", ["v1/predict", "/v1/predict", "predict-me.json", "a:b"])
def test_a_route_may_be_a_path(route: str) -> None:
    """Several parts, with or without the first slash."""
    assert declared(route=route).route == route


def test_a_decorator_without_brackets_is_told_what_to_write() -> None:
    """``@api`` on its own gets the function as its input."""
    with pytest.raises(UsageError, match=r"predict has no input: write @api"):

        @api
        def predict(self: Any, data: Any) -> Any: ...


def test_what_is_no_plain_function_is_refused() -> None:
    """A class, a staticmethod, an async function, an api twice."""
    decorate = api(input=Rows(), output=Out())

    async def waits(self: Any, data: Any) -> Any: ...
    def once(self: Any, data: Any) -> Any: ...

    for wrong in (ServiceCore, staticmethod(once), 3):
        with pytest.raises(UsageError, match="decorates a method"):
            decorate(wrong)  # type: ignore[type-var]
    with pytest.raises(UsageError, match="async"):
        decorate(waits)
    decorate(once)
    with pytest.raises(UsageError, match="an api already"):
        decorate(once)


def test_a_function_that_takes_too_little_is_refused() -> None:
    """With the line to write."""
    with pytest.raises(UsageError, match=r"gives 1: declare it as def nothing\(self, data\)"):

        @api(input=Rows(), output=Out())
        def nothing(self: Any) -> Any: ...

    with pytest.raises(UsageError, match=r"gives 2: declare it as def one\(self, left, right\)"):

        @api(input=Pairs(), output=Out())
        def one(self: Any, data: Any) -> Any: ...


def test_artifacts_are_declared_as_a_list_of_empty_ones() -> None:
    """Each wrong form with what to write."""
    packed = JSONArtifact("a").pack(1)
    for wrong, message in (
        (JSONArtifact("a"), "takes a list"),
        ("a", "takes a list"),
        ([JSONArtifact], "takes artifacts such as"),
        (["a"], "takes artifacts such as"),
        ([JSONArtifact("a"), TextFileArtifact("a")], "two artifacts are named 'a'"),
        ([JSONArtifact("items")], "is a method of svc.artifacts"),
        ([packed], "holds a model already"),
    ):
        with pytest.raises(UsageError, match=message):
            artifacts(wrong)  # type: ignore[arg-type]


def test_artifacts_of_a_base_are_inherited() -> None:
    """The apis of the base need them; a subclass may declare one anew."""

    @artifacts([JSONArtifact("a"), JSONArtifact("b")])
    class Base(ServiceCore):
        pass

    @artifacts([TextFileArtifact("b"), JSONArtifact("c")])
    class Derived(Base):
        pass

    assert list(Base().artifacts.keys()) == ["a", "b"]
    assert [(type(one), one.name) for one in Derived().artifacts] == [
        (JSONArtifact, "a"),
        (TextFileArtifact, "b"),
        (JSONArtifact, "c"),
    ]


def test_two_lists_on_one_class_may_not_share_a_name() -> None:
    """Stacked decorators add up."""
    with pytest.raises(UsageError, match="two artifacts are named 'a'"):

        @artifacts([JSONArtifact("a")])
        @artifacts([JSONArtifact("a"), JSONArtifact("b")])
        class Service(ServiceCore):
            pass


def test_env_ver_and_static_content_set_bentomls_attributes() -> None:
    """Class attributes, as BentoML 0.13 has them."""

    @env(pip_packages=["numpy"])
    @ver(major=1, minor=2)
    @web_static_content("./static")
    class Service(ServiceCore):
        pass

    assert Service._env is not None
    assert Service._env.pip_packages == ["numpy"]
    assert (Service._version_major, Service._version_minor) == (1, 2)
    assert Service._web_static_content == "./static"
    assert ServiceCore._env is None


@pytest.mark.parametrize(("major", "minor"), [(-1, 0), (1, 1.5), ("1", 0), (True, 0), (1, 10**9)])
def test_ver_takes_whole_numbers(major: Any, minor: Any) -> None:
    """They become part of a folder's name."""
    with pytest.raises(UsageError, match="@ver takes whole numbers"):
        ver(major, minor)


@pytest.mark.parametrize("folder", ["", None, 1, "a\nb"])
def test_static_content_is_a_path(folder: Any) -> None:
    """As text."""
    with pytest.raises(UsageError, match="@web_static_content"):
        web_static_content(folder)


@pytest.mark.parametrize(
    "decorator", [env(), ver(1, 0), web_static_content("static"), artifacts([])], ids=["env", "ver", "web", "artifacts"]
)
def test_a_class_decorator_on_a_function_is_refused(decorator: Any) -> None:
    """It was put at the wrong line."""
    with pytest.raises(UsageError, match="decorates a service class"):
        decorator(lambda: None)
