"""Tests of bentobatch.cli.parameters, through the command that uses them."""

from __future__ import annotations

from typing import Any

import click
import pytest

from bentobatch.cli.run import run_command


def params(*words: str) -> dict[str, Any]:
    """What click makes of these words after ``bentobatch run``."""
    return run_command.make_context("run", list(words)).params


def refusal(*words: str) -> str:
    """The message with which these words are refused."""
    with pytest.raises(click.UsageError) as caught:
        params(*words)
    return caught.value.format_message()


def test_one_flag_takes_several_values() -> None:
    """As in BentoML 0.13: all values up to the next option belong to --input or --input-file."""
    found = params("bundle", "api", "--input", "[[1]]", "[[2]]", "--limit", "5")
    assert (found["input"], found["limit"], found["bundle"], found["api"]) == (("[[1]]", "[[2]]"), 5, "bundle", "api")


def test_a_flag_may_be_repeated_and_mixed_with_lists() -> None:
    """The values keep their order over all flags."""
    found = params("b", "--input-file", "1", "2", "--quiet", "--input-file=3", "--input-file", "4")
    assert found["input_file"] == ("1", "2", "3", "4")


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["--input", "-5"], ("-5",)),
        (["--input", "-", "-x"], ("-", "-x")),
        (["--input=--quiet"], ("--quiet",)),
        (["--input="], ("",)),
        (["--input", "a=b"], ("a=b",)),
        (["--input", ""], ("",)),
    ],
)
def test_values_that_look_like_options_are_values(words: list[str], values: tuple[str, ...]) -> None:
    """A single dash begins a value (a negative number, a file); two dashes do so behind an equals sign."""
    assert params("bundle", *words)["input"] == values


@pytest.mark.parametrize("file", ["-dash.parquet", "--report", "./-dash.parquet", "with space", "a\nb"])
def test_a_file_of_any_name_can_be_given(file: str) -> None:
    """--input-file=NAME takes every name there is."""
    assert params("bundle", f"--input-file={file}")["input_file"] == (file,)


@pytest.mark.parametrize("words", [["--input"], ["--input", "--quiet"], ["--output-file", "--overwrite"], ["--limit"]])
def test_a_flag_without_its_value_is_refused(words: list[str]) -> None:
    """``--output-file --overwrite`` must not make a file named --overwrite."""
    assert refusal("bundle", *words).startswith(f"{words[0]} needs a value")


def test_a_bundle_behind_a_list_of_values_is_missed_with_advice() -> None:
    """The list swallows what follows it; the message says so."""
    message = refusal("--input-file", "a.parquet", "bundle", "predict")
    assert message == "BUNDLE is missing: put it before --input-file, which takes all values up to the next option"


def test_the_word_after_two_dashes_is_positional() -> None:
    """The usual end of options."""
    assert params("--quiet", "--", "--odd-bundle")["bundle"] == "--odd-bundle"


@pytest.mark.parametrize("flag", ["--unknown", "--input-fil", "--work", "--no-quiet", "-x"])
def test_unknown_and_abbreviated_options_are_refused(flag: str) -> None:
    """An option that is silently ignored, or guessed, changes a result without a word."""
    assert "o such option" in refusal("bundle", flag, "1")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1048576", 1048576),
        ("64MB", 64_000_000),
        ("64MiB", 64 << 20),
        ("1.5GiB", 3 << 29),
        ("2k", 2000),
        ("10 kb", 10_000),
        ("1TiB", 1 << 40),
        ("7B", 7),
    ],
)
def test_sizes_are_read_with_their_units(text: str, size: int) -> None:
    """MB are millions, MiB powers of 1024."""
    assert params("bundle", "--batch-bytes", text)["batch_bytes"] == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "0", "1XB", "1e6", "0.1B", "i", "1i"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """The message shows the forms that are."""
    assert "size" in refusal("bundle", "--batch-bytes", text)


def test_names_are_lists_with_commas_and_may_be_repeated() -> None:
    """A name that holds a comma is quoted as in CSV; spaces belong to the name."""
    found = params("bundle", "--keep", 'id,"a,b"', "--keep", " ts", "--features", "x,y")
    assert (found["keep"], found["features"]) == (("id", "a,b", " ts"), ("x", "y"))


@pytest.mark.parametrize("text", ["", "a,,b", ",", '"a', "a\nb"])
def test_a_malformed_list_of_names_is_refused(text: str) -> None:
    """No column has an empty name that somebody could mean."""
    assert "--keep" in refusal("bundle", "--keep", text)


@pytest.mark.parametrize(
    ("text", "nulls"), [("", ("",)), (",NA", ("", "NA")), ("-,NULL", ("-", "NULL"))], ids=["empty", "two", "dash"]
)
def test_null_spellings_may_be_empty(text: str, nulls: tuple[str, ...]) -> None:
    """The empty text is a spelling of null like others."""
    assert params("bundle", "--nulls", text)["nulls"] == nulls


@pytest.mark.parametrize(("text", "char"), [(";", ";"), ("tab", "\t"), ("\\t", "\t"), ("\t", "\t"), (" ", " ")])
def test_a_delimiter_is_one_character_or_tab(text: str, char: str) -> None:
    """A tabulator is hard to type."""
    assert params("bundle", "--delimiter", text)["delimiter"] == char


@pytest.mark.parametrize("text", ["", ";;", '"', "\n"])
def test_what_cannot_separate_fields_is_refused(text: str) -> None:
    """A quote or a line end has another meaning in CSV."""
    assert "character" in refusal("bundle", "--delimiter", text)


def test_storage_options_are_json_where_they_can_be() -> None:
    """anon=true is a boolean, a key is a text, a number in quotes a text too."""
    words = ["--storage-option", "anon=true", "--storage-option", "key=AK=1", "--storage-option", 'token="5"']
    nested = ["--storage-option", 'client_kwargs={"region_name": "x"}']
    expected = (("anon", True), ("key", "AK=1"), ("token", "5"), ("client_kwargs", {"region_name": "x"}))
    assert params("bundle", *words, *nested)["storage_options"] == expected


def test_a_malformed_storage_option_is_refused_without_showing_it() -> None:
    """It may be a password."""
    assert "hunter2" not in refusal("bundle", "--storage-option", "hunter2")


@pytest.mark.parametrize(
    "words", [["--limit", "-1"], ["--workers", "0"], ["--batch-rows", "x"], ["--split-timeout", "0"]]
)
def test_numbers_out_of_range_are_refused(words: list[str]) -> None:
    """Before anything is done."""
    assert words[0] in refusal("bundle", *words)


def test_max_batch_size_is_batch_rows() -> None:
    """BentoML 0.13's name for it."""
    assert params("bundle", "--max-batch-size", "10")["batch_rows"] == 10
