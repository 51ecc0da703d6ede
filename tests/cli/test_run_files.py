"""Tests of the whole program over folders of images, and columns that hold them or name them."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import bentobatch
from tests.adapters.pictures import bomb, picture

SERVICE = """
import os
import time

import bentobatch
from bentobatch.adapters import AnnotatedImageInput, DataframeInput, FileInput, ImageInput, MultiFileInput, MultiImageInput
from bentobatch.adapters import NumpyInput, StringInput


class Photos(bentobatch.BentoService):
    @bentobatch.api(input=ImageInput(), batch=True)
    def predict(self, images):
        trace = os.environ.get("BENTOBATCH_TEST_TRACE")
        if trace:
            with open(trace, "a") as file:
                file.write(f"{len(images)}\\n")
        time.sleep(float(os.environ.get("BENTOBATCH_TEST_SLEEP", "0")))
        return [int(image[0, 0, 0]) for image in images]

    @bentobatch.api(input=ImageInput())
    def shape(self, image):
        return list(image.shape)

    @bentobatch.api(input=FileInput(fetch=True), batch=True)
    def fetched(self, files):
        return [f"{file.name} {len(file.read())}" for file in files]

    @bentobatch.api(input=FileInput(), batch=True)
    def sizes(self, files):
        return [len(file.read()) for file in files]

    @bentobatch.api(input=MultiImageInput(input_names=("image_x", "imageY")), batch=True)
    def difference(self, xs, ys):
        return [int(x[0, 0, 0]) - int(y[0, 0, 0]) for x, y in zip(xs, ys)]

    @bentobatch.api(input=MultiFileInput(["a", "b"], allow_none=True))
    def either(self, a, b):
        return ("a" if a else "") + ("b" if b else "")

    @bentobatch.api(input=AnnotatedImageInput(), batch=True)
    def annotated(self, images, annotations):
        return [str(each) for each in annotations]

    @bentobatch.api(input=NumpyInput(shape=[2]), batch=True)
    def sums(self, array):
        return array.sum(axis=1)

    @bentobatch.api(input=DataframeInput(columns=["x"]), batch=True)
    def table(self, df):
        return df["x"]

    @bentobatch.api(input=FileInput(), batch=True)
    def kinds(self, files):
        return [file.read().decode("latin-1") for file in files]

    @bentobatch.api(input=StringInput(), batch=True)
    def texts(self, texts):
        return [b"\\xff" + text.encode() for text in texts]
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The bundle of SERVICE."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "photo_service_of_tests.py").write_text(SERVICE)
    sys.path.insert(0, str(folder))
    try:
        import photo_service_of_tests

        return photo_service_of_tests.Photos().save_to_dir(str(folder / "bundle"))
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("photo_service_of_tests", None)


@pytest.fixture
def images(tmp_path):
    """A folder of 40 images whose first pixel is their number."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.png").write_bytes(picture(color=(number, 0, 0)))
    return folder


def noise():
    """The bytes of an image that does not pack."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def command(bundle, api, *options):
    return [sys.executable, "-m", "bentobatch", "run", str(bundle), api, *map(str, options)]


def run(bundle, api, *options, code=0, **environment):
    """What ``bentobatch run`` printed; its messages are shown where the exit code is another than expected."""
    done = subprocess.run(
        command(bundle, api, *options), capture_output=True, text=True, env={**os.environ, **environment}, timeout=200
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    done.rows = [json.loads(line) for line in done.stdout.splitlines()]
    return done


def test_a_folder_with_all_that_can_be_wrong_loses_only_what_is(bundle, images, tmp_path):
    """A corrupt image, an empty file, a text, and a bomb are rejects; links to files are files; _ and . names are not
    there; and the rest has its answers in natural order."""
    (images / "corrupt.png").write_bytes(noise()[:-2000])
    (images / "empty.png").write_bytes(b"")
    (images / "notes.txt").write_text("no image")
    (images / "bomb.png").write_bytes(bomb())
    (images / "_part.png").write_bytes(b"ignored")
    (images / ".DS_Store").write_bytes(b"ignored")
    (images / "link.png").symlink_to("7.png")
    (images / "sub").mkdir()
    (images / "sub" / "a.bmp").write_bytes(picture(color=(99, 0, 0), format="BMP"))
    (images / "folder_link").symlink_to("sub")
    out = tmp_path / "out.parquet"
    options = ["--input-file", images, "--output-file", out, "--keep", "path", "--status-column", "status"]
    refused = run(bundle, "predict", *options, "--executor", "processes", "--workers", 2, code=71)
    assert "4 of 46 rows were rejected" in refused.stderr
    assert not out.exists()
    run(bundle, "predict", *options, "--executor", "processes", "--workers", 2, "--max-rejects", "4")
    found = pq.read_table(out).to_pydict()
    lost = ["bomb.png", "corrupt.png", "empty.png", "notes.txt"]
    assert found["path"] == [*(f"{number}.png" for number in range(40)), *lost[:3], "link.png", lost[3], "sub/a.bmp"]
    assert found["prediction"] == [*range(40), None, None, None, 7, None, 99]
    assert [status for status in found["status"] if status != "ok"] == ["rejected"] * 4
    rejects = pq.read_table(f"{out}.rejects.parquet").to_pylist()
    assert [(row["file"], row["stage"]) for row in rejects] == [(str(images / name), "convert") for name in lost]
    assert [row["error_type"] for row in rejects] == [
        "DecompressionBombError",
        "OSError",
        "EmptyFile",
        "UnidentifiedImageError",
    ]
    assert json.loads(rejects[1]["values"])["path"] == "corrupt.png"
    assert all(row["raw"] is None for row in rejects)


@pytest.mark.parametrize(("what", "code"), [("pipe", 65), ("dangling", 66)])
def test_what_is_no_regular_file_stops_the_run_by_name(bundle, images, what, code):
    """Before the first image is read; a pipe must not hold the job."""
    if what == "pipe":
        os.mkfifo(images / "strange.png")
    else:
        (images / "strange.png").symlink_to("nowhere")
    assert "strange.png" in run(bundle, "predict", "--input-file", images, code=code).stderr


def test_every_executor_gives_the_same_answers(bundle, images, tmp_path):
    """Bit for bit, whatever the workers; a glob and the folder name the same rows."""
    answers = []
    for executor in ("inline", "threads", "processes"):
        out = tmp_path / f"{executor}.parquet"
        bentobatch.run(
            bundle,
            input_file=f"{images}/*.png",
            output_file=out,
            executor=executor,
            workers=2,
            split_rows=7,
            keep=["path"],
        )
        answers.append(pq.read_table(out))
    assert answers[0].equals(answers[1])
    assert answers[0].equals(answers[2])
    assert answers[0].column("prediction").to_pylist() == list(range(40))


def test_a_run_that_was_killed_goes_on_from_its_finished_splits(bundle, images, tmp_path):
    """The same command ends in the output of an undisturbed run, and scores no finished split again."""
    out, report = tmp_path / "out.parquet", tmp_path / "report.json"
    options = ["--input-file", images, "--output-file", out, "--split-rows", 5, "--executor", "inline"]
    environment = {"BENTOBATCH_TEST_SLEEP": "0.3"}
    process = subprocess.Popen(
        command(bundle, "predict", *options), env={**os.environ, **environment}, start_new_session=True,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob(".out.parquet.bentobatch/*/receipts/*"))) < 3:  # one may be on its way
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    run(bundle, "predict", *options, "--report", report)
    assert pq.read_table(out).column("prediction").to_pylist() == list(range(40))
    told = json.loads(report.read_text())
    assert told["splits_reused"] >= 2
    assert 0 < told["rows_reused"] < 40


def test_one_more_file_is_scored_with_its_split_alone(bundle, images, tmp_path):
    """What earlier runs finished of the folder is taken over."""
    out = tmp_path / "out.parquet"
    options = {"input_file": images, "output_file": out, "split_rows": 5}
    bentobatch.run(bundle, **options)
    (images / "100.png").write_bytes(picture(color=(100, 0, 0)))
    report = bentobatch.run(bundle, **options, overwrite=True)
    assert pq.read_table(out).column("prediction").to_pylist() == [*range(40), 100]
    assert report.rows_reused >= 30


def test_only_new_files_are_added(bundle, images, tmp_path):
    """Every night a few images more; one that changed cannot be replaced alone, and says so."""
    out, trace = tmp_path / "out", tmp_path / "trace"
    options = {"input_file": images, "output_file": out, "only_new": True, "keep": ["path"], "executor": "inline"}
    bentobatch.run(bundle, **options)
    (images / "50.png").write_bytes(picture(color=(50, 0, 0)))
    run(bundle, "predict", "--input-file", images, "--output-file", out, "--only-new", "--keep", "path",
        BENTOBATCH_TEST_TRACE=str(trace))  # fmt: skip
    assert set(trace.read_text().split()) == {"1"}
    assert pq.read_table(out).column("prediction").to_pylist() == [*range(40), 50]
    assert bentobatch.run(bundle, **options).rows == 41
    (images / "3.png").write_bytes(picture(color=(33, 0, 0), width=9))
    with pytest.raises(bentobatch.errors.UsageError, match=r"3\.png changed since the output scored it"):
        bentobatch.run(bundle, **options)


def test_mended_images_are_redriven(bundle, images, tmp_path):
    """The rows that were lost are read again as the files are now; the others keep their values."""
    (images / "5.png").write_bytes(b"broken")
    out = tmp_path / "out.parquet"
    bentobatch.run(bundle, input_file=images, output_file=out, max_rejects=1, split_rows=10)
    assert pq.read_table(out).column("prediction").to_pylist()[5] is None
    (images / "5.png").write_bytes(picture(color=(55, 0, 0)))
    report = bentobatch.redrive(out)
    assert report.rejected == 0
    assert pq.read_table(out).column("prediction").to_pylist() == [*range(5), 55, *range(6, 40)]


def test_several_inputs_are_paired_by_name(bundle, tmp_path):
    """``--input-file-NAME``, with - for _; a row without its partner is a reject that names it."""
    for folder, extension, names in (("x", "png", "1 2 3"), ("y", "bmp", "1 3 4")):
        (tmp_path / folder).mkdir()
        for name in names.split():
            shade = int(name) * (10 if folder == "x" else 1)
            content = picture(color=(shade, 0, 0), format=extension.upper())
            (tmp_path / folder / f"{name}.{extension}").write_bytes(content)
    options = ["--input-file-image-x", tmp_path / "x", f"--input-file-imageY={tmp_path}/y", "--keep", "path"]
    done = run(bundle, "difference", *options, "--max-rejects", 2)
    assert done.rows == [
        {"path": "1.png", "prediction": 9},
        {"path": "2.png", "prediction": None},
        {"path": "3.png", "prediction": 27},
        {"path": "4.bmp", "prediction": None},
    ]
    assert "2.png: no file for 'imageY'" in done.stderr
    assert "4.bmp: no file for 'image_x'" in done.stderr
    named = run(
        bundle, "difference", "--input-image_x", f"@{tmp_path}/x/1.png", "--input-imageY", f"@{tmp_path}/y/4.bmp"
    )
    assert named.rows == [{"prediction": 6}]
    inputs = {"image_x": tmp_path / "x" / "2.png", "imageY": [tmp_path / "y" / "1.bmp"]}
    out = tmp_path / "out.jsonl"
    bentobatch.run(bundle, "difference", input_file=inputs, output_file=out)
    assert json.loads(out.read_text()) == {"prediction": 19}


def test_annotations_go_with_their_images(bundle, tmp_path):
    """An image without has None; one whose annotations are broken is a reject."""
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(picture())
    (tmp_path / "a.json").write_text('{"box": [1, 2]}')
    (tmp_path / "c.json").write_text("{oops")
    done = run(bundle, "annotated", "--input-file-image", f"{tmp_path}/*.png", "--input-file-annotations",
               f"{tmp_path}/*.json", "--max-rejects", 1)  # fmt: skip
    assert [row["prediction"] for row in done.rows] == ["{'box': [1, 2]}", "None", None]
    assert "the annotations are no JSON" in done.stderr


def test_optional_files_may_be_missing(bundle, tmp_path):
    """allow_none gives the function None."""
    for name in ("a/1.x", "a/2.x", "b/2.y", "b/3.y"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    done = run(bundle, "either", "--input-file-a", tmp_path / "a", "--input-file-b", tmp_path / "b")
    assert [row["prediction"] for row in done.rows] == ["a", "ab", "b"]


def test_inline_values_are_files_or_their_bytes(bundle, tmp_path):
    """``@PATH`` names a file, anything else is the bytes themselves, as in BentoML 0.13."""
    path = tmp_path / "a.png"
    path.write_bytes(picture(7, 5))
    assert run(bundle, "shape", "--input", f"@{path}").rows == [{"prediction": [5, 7, 3]}]
    assert run(bundle, "sizes", "--input", "hello", "grün").rows == [{"prediction": 5}, {"prediction": 5}]
    assert "not both" in run(bundle, "sizes", "--input", f"@{path}", "hello", code=2).stderr


def test_columns_hold_bytes_or_name_files(bundle, images, tmp_path):
    """Parquet with bytes, Parquet and CSV with paths beside the table, JSON lines with paths below another root."""
    paths = [f"images/{number}.png" for number in (3, 1, 2)]
    contents = [(tmp_path / path).read_bytes() for path in paths]
    table = pa.table({"id": [30, 10, 20], "photo": paths, "raw": contents})
    pq.write_table(table, tmp_path / "table.parquet")
    expected = [{"id": 30, "prediction": 3}, {"id": 10, "prediction": 1}, {"id": 20, "prediction": 2}]
    for feature in ("photo", "raw"):
        options = ["--input-file", tmp_path / "table.parquet", "--features", feature, "--keep", "id"]
        assert run(bundle, "predict", *options).rows == expected
    kept = run(bundle, "predict", *options[:2], "--features", "photo", "--keep", "photo")
    assert kept.rows[0] == {"photo": "images/3.png", "prediction": 3}
    (tmp_path / "table.csv").write_text("id,photo\n30,images/3.png\n10,../secret.png\n")
    done = run(bundle, "predict", "--input-file", tmp_path / "table.csv", "--keep", "id", "--max-rejects", 1)
    assert done.rows == [{"id": 30, "prediction": 3}, {"id": 10, "prediction": None}]
    assert "leads out of" in done.stderr
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "table.jsonl").write_text('{"photo": "3.png"}\n')
    done = run(bundle, "predict", "--input-file", tmp_path / "elsewhere", "--files-root", images)
    assert done.rows == [{"prediction": 3}]


def test_urls_in_a_column_are_no_business_of_ours(bundle, tmp_path):
    """Each such row is a reject with a line that says how to ask for it; nothing connects anywhere."""
    (tmp_path / "table.csv").write_text("photo\nhttp://127.0.0.1:9/a.png\n")
    done = run(bundle, "predict", "--input-file", tmp_path / "table.csv", "--max-rejects", "100%")
    assert done.rows == [{"prediction": None}]
    assert "ImageInput(fetch=True)" in done.stderr


def test_urls_in_a_column_are_fetched_on_demand(bundle, tmp_path):
    """A file that is not there costs its row; a large one comes whole."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "large.bin").write_bytes(bytes(3_000_000))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        home = f"http://127.0.0.1:{server.server_port}"
        (tmp_path / "table.csv").write_text(f"photo\n{home}/large.bin\n{home}/nosuch.bin\n")
        done = run(bundle, "fetched", "--input-file", tmp_path / "table.csv", "--max-rejects", 1)
        server.shutdown()
    assert [row["prediction"] for row in done.rows] == ["large.bin 3000000", None]
    assert "nosuch.bin: No such file" in done.stderr


def test_tables_among_other_files_ask_which_is_meant(bundle, images, tmp_path):
    """A folder of images with a list of them is a mistake in one reading or the other."""
    (images / "labels.csv").write_text("a\n1\n")
    assert "mixed formats" in run(bundle, "predict", "--input-file", images, code=65).stderr
    (images / "labels.csv").rename(tmp_path / "labels.csv")
    done = run(bundle, "kinds", "--input-file", tmp_path / "labels.csv", "--format", "binary_files")
    assert done.rows == [{"prediction": "a\n1\n"}]


@pytest.mark.parametrize(
    ("api", "options", "told"),
    [
        ("table", ["--input-file-x", "."], "takes no files as values"),
        ("table", ["--input-file", ".", "--format", "binary_files"], "takes no files as values"),
        ("difference", ["--input-file", "."], "--input-file-image-x PATH --input-file-imageY PATH"),
        ("difference", ["--input-file-other", "."], "no input 'other'"),
        ("difference", ["--input-file-image-x", ".", "--input-file", "."], "not both"),
        ("predict", ["--input-file", ".", "--features", "a"], "files have none"),
        ("predict", ["--input-file-image"], "needs a value"),
        ("predict", ["--input-other", "x"], "o such option"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(bundle, images, monkeypatch, api, options, told):
    """Exit 2, with what to do."""
    monkeypatch.chdir(images)
    assert told in run(bundle, api, *options, code=2).stderr


def test_the_output_must_not_lie_among_the_files(bundle, images):
    """The next run would read it as an image."""
    options = ["--input-file", images, "--output-file", images / "out.parquet"]
    assert "lie in each other" in run(bundle, "predict", *options, code=2).stderr


def test_a_list_column_is_a_tensor(bundle, tmp_path):
    """NumpyInput over lists; a row of another shape costs itself alone."""
    pq.write_table(pa.table({"v": [[1.0, 2.0], [3.0], [4.0, 5.0]]}), tmp_path / "v.parquet")
    done = run(bundle, "sums", "--input-file", tmp_path / "v.parquet", "--max-rejects", 1)
    assert [row["prediction"] for row in done.rows] == [3.0, None, 9.0]


def test_bytes_and_text_are_columns_of_their_own(bundle, tmp_path):
    """BentoML 0.13 had no output of text or bytes: DefaultOutput writes both as they are."""
    (tmp_path / "a.txt").write_text("x\ny\n")
    bentobatch.run(bundle, "texts", input_file=tmp_path / "a.txt", output_file=tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").column("prediction").to_pylist() == [b"\xffx", b"\xffy"]


def test_memory_is_bounded_by_chunks_and_decoded_images(bundle, tmp_path):
    """Twenty images of 27 MiB each in few bytes: decoded together they would be half a GiB."""
    folder = tmp_path / "large"
    folder.mkdir()
    Image.fromarray(np.zeros((3072, 3072, 3), dtype=np.uint8)).save(folder / "0.png")
    for number in range(1, 40):
        shutil.copyfile(folder / "0.png", folder / f"{number}.png")
    trace = tmp_path / "trace"
    done = run(bundle, "predict", "--input-file", folder, BENTOBATCH_TEST_TRACE=str(trace))
    assert [row["prediction"] for row in done.rows] == [0] * 40
    assert max(map(int, trace.read_text().split())) == (256 << 20) // (3072 * 3072 * 3)
