"""The input of a comparison is read once, and each bundle sees what it would see in a run of its own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bentobatch import runs
from bentobatch.cli.main import main
from bentobatch.comparison.sides import score_apart, score_together
from bentobatch.engine.job import BatchJob
from bentobatch.errors import DataError, ModelError

SERVICE = '''
import bentobatch
from bentobatch.adapters import DataframeInput, FileInput, JsonInput


class Seen(bentobatch.BentoService):
    """Its apis tell what they were given: types, values, and the rows of each call."""

    @bentobatch.api(input=DataframeInput(), batch=True)
    def everything(self, df):
        return self._told(df)

    @bentobatch.api(input=DataframeInput(columns=["n", "x"]), batch=True)
    def numbers(self, df):
        return self._told(df)

    @bentobatch.api(input=DataframeInput(columns=["t"], dtype={"t": "int32"}), batch=True)
    def strict(self, df):
        return self._told(df)

    @bentobatch.api(input=DataframeInput(columns=["t", "n"], dtype={"t": "str", "n": "float64"}), batch=True)
    def texts(self, df):
        return self._told(df)

    @bentobatch.api(input=JsonInput(), batch=True)
    def parsed(self, values):
        return [f"{sorted(value.items())} {len(values)}" for value in values]

    @bentobatch.api(input=FileInput(), batch=True)
    def content(self, files):
        return [f"{file.read()!r}" for file in files]

    @bentobatch.api(input=DataframeInput(columns=["n"]), batch=True, row_independent=False)
    def together(self, df):
        return [len(df)] * len(df)

    @bentobatch.api(input=DataframeInput(columns=["n"]), batch=True)
    def broken(self, df):
        raise ValueError("no row will do")

    @bentobatch.api(input=DataframeInput(columns=["n"]), batch=True, output_schema={"prediction": "int64"})
    def moody(self, df):
        """Cannot be had the first time that it is asked for the first row."""
        import os
        if (df["n"] == 0).any():
            try:
                open(os.environ["MOODY_MARK"], "x").close()
            except FileExistsError:
                return df["n"].notna().astype("int64")
            raise bentobatch.Retryable("not now")
        return df["n"].notna().astype("int64")

    @bentobatch.api(input=DataframeInput(columns=["n"]), batch=True)
    def fatal(self, df):
        import os
        if (df["n"] == 77).any():
            os._exit(9)
        return self._told(df)

    def _told(self, df):
        kinds = " ".join(f"{name}:{kind}" for name, kind in df.dtypes.items())
        return [f"{row!r} {kinds} {len(df)}" for row in df.itertuples(index=False, name=None)]
'''
ROWS = 90


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bundle whose apis tell what they see."""
    folder = tmp_path_factory.mktemp("seen")
    (folder / "seen_service.py").write_text(SERVICE)
    sys.path.insert(0, str(folder))
    try:
        importlib.import_module("seen_service").Seen().save_to_dir(str(folder / "bundle"))
        yield folder / "bundle"
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("seen_service", None)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One table in several formats, and one without rows. Of column t some values are no numbers."""
    folder = tmp_path_factory.mktemp("inputs")
    numbers = [None if row % 7 == 3 else row for row in range(ROWS)]
    texts = ["seven" if row % 30 == 7 else f"{row:03}" for row in range(ROWS)]
    table = pa.table(
        {"key": [f"k{row}" for row in range(ROWS)], "n": pa.array(numbers, pa.int64()), "t": texts}
    ).append_column("x", pa.array([row / 4 for row in range(ROWS)]))
    pq.write_table(table, folder / "rows.parquet", row_group_size=30)
    frame = table.to_pandas(types_mapper={pa.int64(): importlib.import_module("pandas").Int64Dtype()}.get)
    frame.to_csv(folder / "rows.csv", index=False)
    frame.to_json(folder / "rows.jsonl", orient="records", lines=True)
    (folder / "none.csv").write_text("key,n,t,x\n")
    (folder / "files").mkdir()
    for number in range(5):
        (folder / "files" / f"{number}.bin").write_bytes(b"\0" * number)
    return folder


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of reads of counted:// URLs, a file system that child processes find too, by its entry point."""
    folder = Path(__file__).parent
    plugin = tmp_path / "plugin"
    (plugin / "counted_files-1.dist-info").mkdir(parents=True)
    (plugin / "counted_files.py").write_bytes((folder / "counted_files.py").read_bytes())
    (plugin / "counted_files-1.dist-info" / "METADATA").write_text("Name: counted_files\nVersion: 1\n")
    (plugin / "counted_files-1.dist-info" / "entry_points.txt").write_text(
        "[fsspec.specs]\ncounted = counted_files:CountedFileSystem\n"
    )
    monkeypatch.syspath_prepend(str(plugin))
    fsspec.register_implementation("counted", "counted_files.CountedFileSystem", clobber=True)
    monkeypatch.setenv("COUNTED_FILES_LOG", str(tmp_path / "reads.log"))
    return tmp_path / "reads.log"


def _jobs(bundle: Path, apis: tuple[str, str], folder: Path, **options: Any) -> list[BatchJob]:
    folder.mkdir()
    return [
        runs.make_job(
            bundle, api, output_file=folder / f"{side}.arrow", status_column="status", max_rejects=None, **options
        )
        for side, api in zip(("old", "new"), apis, strict=True)
    ]


def _tables(folder: Path) -> list[Any]:
    """What a pair of runs has left: both outputs and their rejects."""
    found: list[Any] = []
    for side in ("old", "new"):
        with pa.memory_map(str(folder / f"{side}.arrow")) as source:
            found.append(pa.ipc.open_file(source).read_all().replace_schema_metadata(None))
        rejects = folder / f"{side}.arrow.rejects.parquet"
        found.append(pq.read_table(rejects).replace_schema_metadata(None) if rejects.exists() else None)
    return found


@pytest.mark.parametrize(
    ("name", "apis", "options"),
    [
        ("rows.csv", ("strict", "texts"), {"keep": ["key", "x"]}),
        ("rows.csv", ("everything", "numbers"), {"keep": ["key"], "limit": 47}),
        ("rows.jsonl", ("parsed", "everything"), {}),
        ("rows.jsonl", ("parsed", "parsed"), {"keep": ["key", "t"]}),
        ("rows.parquet", ("texts", "numbers"), {"keep": ["key"]}),
        ("rows.parquet", ("together", "numbers"), {}),
        ("none.csv", ("everything", "numbers"), {}),
        ("files", ("content", "content"), {}),
    ],
)
def test_each_bundle_sees_what_it_would_see_in_a_run_of_its_own(
    seen: Path, inputs: Path, tmp_path: Path, name: str, apis: tuple[str, str], options: dict[str, Any]
) -> None:
    """Value for value, with the types, the calls and the rejects of its own run, whatever the other one asks for."""
    options = {"input_file": inputs / name, "split_rows": 40, "batch_rows": 16, **options}
    together, apart = tmp_path / "together", tmp_path / "apart"
    score_together(_jobs(seen, apis, together, **options), together, workers=1)
    score_apart(_jobs(seen, apis, apart, **options), isolated=False)
    assert _tables(together) == _tables(apart)


@pytest.mark.parametrize(
    ("name", "apis"),
    [
        ("rows.csv", ("texts", "strict")),
        ("rows.parquet", ("numbers", "numbers")),
    ],
)
def test_the_input_is_read_once_by_one_process(
    seen: Path, inputs: Path, tmp_path: Path, counted: Path, name: str, apis: tuple[str, str]
) -> None:
    """As many bytes of it are read for two models as for one, however often it is opened for that; all of them by the
    process that reads, and none by the workers of the two."""
    options = {"input_file": f"counted://{inputs / name}", "split_rows": 40}
    one, two = tmp_path / "one", tmp_path / "two"
    score_apart(_jobs(seen, apis, one, **options)[:1], isolated=False)
    alone = [line.split() for line in counted.read_text().splitlines()]
    counted.unlink()
    score_together(_jobs(seen, apis, two, **options), two, workers=1)
    both = [line.split() for line in counted.read_text().splitlines()]
    assert {line[0] for line in (*alone, *both)} == {name}
    assert len({process for _, process, _ in both}) == 1
    size = sum(int(read) for _, _, read in alone)
    assert size > (inputs / name).stat().st_size / 2
    probed = 0 if apis[0] == apis[1] else (inputs / name).stat().st_size  # each looks at first rows of other columns
    assert size <= sum(int(read) for _, _, read in both) <= size + probed


def test_the_side_that_fails_ends_both(seen: Path, inputs: Path, tmp_path: Path) -> None:
    """With its own error, at once, whatever the other one waits for."""
    folder = tmp_path / "failed"
    with pytest.raises(ModelError, match="no row will do"):
        score_together(_jobs(seen, ("numbers", "broken"), folder, input_file=inputs / "rows.csv"), folder)
    assert not list(folder.glob("*.arrow"))


def test_a_row_that_ends_its_process_costs_that_row(seen: Path, inputs: Path, tmp_path: Path) -> None:
    """The splits of the other side go on; the chunks are read anew for the worker that comes after."""
    folder = tmp_path / "fatal"
    options = {"input_file": inputs / "rows.csv", "split_rows": 40}
    reports = score_together(_jobs(seen, ("fatal", "numbers"), folder, **options), folder, workers=1)
    assert [(report.rows, report.rejected) for report in reports] == [(ROWS, 1), (ROWS, 0)]
    old, rejects, _, _ = _tables(folder)
    assert old.column("status").to_pylist().index("rejected") == 77
    assert rejects.column("error_type").to_pylist() == ["WorkerDied"]


def test_a_split_that_is_tried_again_is_waited_for(
    seen: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though both sides have gone on meanwhile, as far as they may."""
    monkeypatch.setenv("MOODY_MARK", str(tmp_path / "mark"))
    folder = tmp_path / "moody"
    jobs = _jobs(seen, ("numbers", "moody"), folder, input_file=inputs / "rows.csv", split_rows=1, limit=20)
    reports = score_together(jobs, folder, workers=1)
    assert (tmp_path / "mark").exists()
    assert [(report.rows, report.rejected) for report in reports] == [(20, 0), (20, 0)]


def test_an_input_that_cannot_be_read_is_one_line(
    seen: Path, inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """From the process that reads, with the exit code that a run has for it."""
    broken = tmp_path / "broken.parquet"
    broken.write_bytes((inputs / "rows.parquet").read_bytes()[:-9])
    assert (
        main(["compare", str(seen), str(seen), "numbers", "--input-file", str(broken), "--quiet"])
        == DataError.exit_code
    )
    assert "broken.parquet: truncated Parquet file" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == [broken]
