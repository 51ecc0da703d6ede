"""This module tests labels and label selectors, against a model of thirty lines."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentobatch.errors import UsageError
from bentobatch.labels import Requirement, Selector, check_key, check_labels

WORDS = st.sampled_from(["a", "b", "c", "framework", "In", "exists", "x-1", "2020.9.10-2020.9.11", "Z_z", "k" * 63])
LABELS = st.dictionaries(WORDS, WORDS, max_size=4)
BLANK = st.sampled_from(["", " ", "  "])


def model(terms: list[tuple[str, str, list[str]]], labels: dict[str, str]) -> bool:
    """What a selector means, by the documentation's words, one operator after the other."""
    for key, operator, values in terms:
        has_key = key in labels
        if operator == "=":
            holds = has_key and labels[key] == values[0]
        elif operator == "!=":
            holds = not has_key or labels[key] != values[0]
        elif operator == "In":
            holds = has_key and any(labels[key] == value for value in values)
        elif operator == "NotIn":
            holds = not has_key or all(labels[key] != value for value in values)
        elif operator == "Exists":
            holds = has_key
        else:
            assert operator == "DoesNotExist"
            holds = not has_key
        if not holds:
            return False
    return True


@st.composite
def selectors(draw: st.DrawFn) -> tuple[str, list[tuple[str, str, list[str]]]]:
    """A selector's text, spelled with blanks and cases as people do, and its terms for the model."""
    texts, terms = [], []
    for _ in range(draw(st.integers(0, 4))):
        key = draw(WORDS)
        operator = draw(st.sampled_from(["=", "!=", "In", "NotIn", "Exists", "DoesNotExist"]))
        most = 1 if operator in ("=", "!=") else 3
        values = [] if operator.endswith(("Exists", "Exist")) else draw(st.lists(WORDS, min_size=1, max_size=most))
        spelled = draw(st.sampled_from([operator, operator.lower(), operator.upper()]))
        blank = draw(BLANK)
        if operator in ("=", "!="):
            text = f"{key}{blank}{operator}{draw(BLANK)}{values[0]}"
        elif values:
            text = f"{key} {spelled}{blank}({blank}{f'{blank},{blank}'.join(values)}{blank})"
        else:
            text = f"{key} {blank}{spelled}"
        texts.append(f"{draw(BLANK)}{text}{draw(BLANK)}")
        terms.append((key, operator, values))
    return ",".join(texts), terms


@given(selectors(), LABELS)
def test_a_selector_means_what_the_documentation_says(selector, labels) -> None:
    """Every operator, any number of terms, any labels: as the model."""
    text, terms = selector
    assert Selector.parse(text).matches(labels) == model(terms, labels)


@given(selectors())
def test_the_text_of_a_selector_parses_to_the_same_selector(selector) -> None:
    """So that it may be sent to a server."""
    parsed = Selector.parse(selector[0])
    assert Selector.parse(str(parsed)) == parsed


@given(st.text(max_size=40))
def test_any_text_is_a_selector_or_a_usage_error(text: str) -> None:
    """Never another exception; and a selector answers for no labels at all."""
    with contextlib.suppress(UsageError):
        assert Selector.parse(text).matches({}) in (True, False)


@pytest.mark.parametrize("text", ["platform!=lambda", "platform NotIn (lambda, azure)", "platform DoesNotExist"])
def test_what_lacks_the_key_matches_the_negative_operators(text: str) -> None:
    """D17: BentoML 0.13 left it out."""
    assert Selector.parse(text).matches({})
    assert Selector.parse(text).matches({"framework": "xgboost"})
    assert not Selector.parse(text).matches({"platform": "lambda"})


def test_a_key_alone_asks_whether_it_is_there() -> None:
    """As in BentoML."""
    assert Selector.parse("cohort") == Selector.parse("cohort Exists") == Selector((Requirement("cohort", "Exists"),))


@pytest.mark.parametrize(
    "text",
    ["a=", "=b", "a==b", "a=b=c", "a,,b", "a,", ",", "a In ()", "a In (b", "a In b", "a In (b,)", "a b", "a Within (b)",
     "a=b c", "!a", "a In (b) c", "a != -b", "a=" + "x" * 64, "a In ((b))", "a\x00=b", "é=b", "a " * 9_000],
)  # fmt: skip
def test_a_malformed_selector_is_a_usage_error(text: str) -> None:
    """Said in one line, with what is meant."""
    with pytest.raises(UsageError, match="label selector") as caught:
        Selector.parse(text)
    assert len(str(caught.value)) < 700


def test_a_long_selector_is_parsed_in_no_time() -> None:
    """Commas and parentheses in any number do not make the parser slow."""
    for text in ("a In (" + "b," * 3000, "(" * 9_999, "a In " + " " * 9_900 + "(b", "," * 9_999):
        with pytest.raises(UsageError):
            Selector.parse(text)
    assert len(Selector.parse(",".join(["k=v"] * 2_000)).requirements) == 2_000


@pytest.mark.parametrize("word", ["a", "k" * 63, "2020.9.10-2020.9.11", "a_b-c.d", "0"])
def test_a_sound_label_is_taken(word: str) -> None:
    """1 to 63 characters, letters and digits at the ends."""
    assert check_labels({word: word}) == {word: word}
    assert check_key(word) == word


@pytest.mark.parametrize("word", ["", "k" * 64, "-a", "a-", ".a", "_", "a b", "é", "a\n", "a/b", None, 5])
def test_a_malformed_label_is_refused(word: object) -> None:
    """As a key, and as a value."""
    for labels in ({word: "value"}, {"key": word}):
        with pytest.raises(UsageError, match="1 to 63"):
            check_labels(labels)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="1 to 63"):
        check_key(word)  # type: ignore[arg-type]
