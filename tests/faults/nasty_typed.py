"""This module makes the nasty Parquet, Arrow and ORC files."""

from __future__ import annotations

import decimal
import os
import pickle
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq

from tests.faults.nasty import (
    COLUMNS,
    MAKERS,
    NAN,
    Case,
    Row,
    Truth,
    either,
    error,
    makes,
    ok,
    parquet,
    rejects,
    rows,
    table,
    truth,
)

ENCODINGS = ("PLAIN", "BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED", "RLE_DICTIONARY")

TABLE = (
    ok("parquet/zero_row_groups.parquet", 0),
    ok("parquet/zero_rows.parquet", 0),
    ok("parquet/all_null_typed.parquet", 10),
    ok("parquet/dictionary.parquet", 10),
    ok("parquet/large_string.parquet", 10, options={"keep": ["id", "extra"]}),
    ok("parquet/timestamp_tz.parquet", 10, options={"keep": ["id", "extra"]}),
    ok("parquet/list.parquet", 10, options={"keep": ["id", "extra"]}),
    ok("parquet/struct.parquet", 10, options={"keep": ["id", "extra"]}),
    ok("parquet/int_53.parquet", 3),
    ok("parquet/order_shuffled.parquet", 10),
    error("parquet/missing_column.parquet", 65, "missing column.*x1"),
    error("parquet/wrong_dtype.parquet", 65, "x0.*(string|float|type)"),
    ok("parquet/int_features.parquet", 10),
    either("parquet/bool_feature.parquet"),
    ok("parquet/non_ascii_names.parquet", 10, options={"keep": ["id", "größe 🎈"]}),
    error("parquet/dup_columns.parquet", 65, "duplicate column.*x0"),
    ok("parquet/dotted_names.parquet", 5, options={"keep": ["id", "a.b", "a"]}),
    ok("parquet/codec_zstd.parquet", 100),
    ok("parquet/codec_lz4.parquet", 100),
    ok("parquet/codec_gzip.parquet", 100),
    error("parquet/body_truncated.parquet", 65),
    either("parquet/bitflip_nocrc.parquet"),
    either("parquet/bitflip_snappy.parquet"),
    error("parquet/empty.parquet", 65, "empty|size"),
    error("parquet/csv_renamed.parquet", 65, "not a parquet"),
    error("parquet/huge_footer_len.parquet", 65, process=True, memory=3000),
    ok("arrow/ok.feather", 10),
    error("arrow/truncated.arrow", 65),
    ok("arrow/stream.arrow", 500),
    either("parquet/py_extension_pickle.parquet"),
)

BEYOND = (
    either("parquet/decimal_features.parquet"),
    ok("parquet/float16.parquet", 10),
    ok("parquet/float32.parquet", 10),
    ok("parquet/uint64_id.parquet", 3),
    ok("parquet/dictionary_ints.parquet", 10, options={"keep": ["id", "extra"]}),
    ok("parquet/ids_near_2_63.parquet", 4),
    rejects("parquet/uint64_features.parquet", 2, 1),
    ok("parquet/int64_features_beyond_2_53.parquet", 2),
    ok("parquet/ints_with_nulls.parquet", 10),
    ok("parquet/nested_kept.parquet", 10, options={"keep": ["id", "extra"]}),
    ok("parquet/map_kept.parquet", 10, options={"keep": ["id", "extra"]}),
    ok("parquet/time_types_kept.parquet", 4, options={"keep_all": True}),
    ok("parquet/one_row_groups.parquet", 50_000),
    ok("parquet/page_index.parquet", 1000),
    *(ok(f"parquet/encoding_{name.lower()}.parquet", 1000) for name in ENCODINGS),
    ok("parquet/data_page_v2.parquet", 1000),
    ok("parquet/brotli.parquet", 100),
    ok("parquet/version_1.parquet", 100),
    error("parquet/crc_flip.parquet", 65, "crc|CRC|checksum"),
    error("parquet/crc_flip_in_second_group.parquet", 65, "crc|CRC|checksum"),
    ok("parquet/big_footer.parquet", 10),
    error("parquet/encrypted_footer.parquet", 65, "encrypt"),
    error("parquet/bad_footer.parquet", 65),
    error("parquet/magic_only.parquet", 65),
    error("parquet/footer_lies_about_rows.parquet", 65),
    error("parquet/four_kb_wants_gigabytes.parquet", 65, process=True, memory=3000),
    ok("parquet/deep_struct_beside.parquet", 10),
    ok("parquet/no_columns_but_the_wanted.parquet", 10),
    either("parquet/null_type_feature.parquet"),
    ok("parquet/empty_names.parquet", 10),
    error("parquet/case_differs.parquet", 65, "missing column.*x0"),
    ok("parquet/huge_strings_beside.parquet", 3),
    rejects("parquet/invalid_utf8_kept.parquet", 2, 1, options={"keep": ["id", "extra"]}),
    ok("parquet/extension_uuid_kept.parquet", 4, options={"keep": ["id", "extra"]}),
    rejects("parquet/far_times_in_a_reject.parquet", 3, 1, options={"keep": ["id", "far", "day"]}),
    rejects("parquet/invalid_utf8_in_a_map.parquet", 2, 1, "extra", options={"keep": ["id", "extra"]}),
    rejects("parquet/time_beyond_a_day.parquet", 2, 1, "extra", options={"keep": ["id", "extra"]}),
    ok("parquet/small_file_of_much_text.parquet", 300, options={"keep": ["id", "extra"], "batch_bytes": 8 << 20}),
    error("arrow/dup_columns.arrow", 65, "duplicate column.*x0"),
    ok("arrow/dup_columns_beside.arrow", 10),
    ok("arrow/compressed.arrow", 100),
    ok("arrow/dictionary_deltas.arrow", 20, options={"keep": ["id", "extra"]}),
    ok("arrow/views.arrow", 10, options={"keep": ["id", "extra"]}),
    ok("arrow/run_ends.arrow", 10, options={"keep": ["id", "extra"]}),
    error("arrow/feather_v1.feather", 65, "version 1"),
    error("arrow/bad_offsets.arrow", 65, options={"keep": ["id", "extra"]}, process=True),
    error("arrow/wants_gigabytes.arrow", 65, process=True, memory=3000),
    error("arrow/truncated_stream.arrow", 65),
    error("arrow/csv_renamed.arrow", 65, "not an Arrow"),
    ok("arrow/empty_stream.arrow", 0),
    ok("orc/ok.orc", 100),
    ok("orc/zero_rows.orc", 0),
    error("orc/truncated.orc", 65),
    error("orc/csv_renamed.orc", 65, "not an ORC"),
    ok("orc/nested_kept.orc", 10, options={"keep": ["id", "extra"]}),
)


def _plain(name: str, count: int, **written: Any) -> None:
    @makes(name)
    def _(path: Path) -> Truth:
        return parquet(path, rows(count), written=written)


for _codec in ("zstd", "lz4", "gzip"):
    _plain(f"parquet/codec_{_codec}.parquet", 100, compression=_codec)
_plain("parquet/brotli.parquet", 100, compression="brotli")
_plain("parquet/version_1.parquet", 100, version="1.0")
_plain("parquet/zero_rows.parquet", 0)
_plain("parquet/one_row_groups.parquet", 50_000, row_group_size=1, compression="none", write_statistics=False)
_plain("parquet/page_index.parquet", 1000, write_page_index=True, data_page_size=100)
_plain("parquet/data_page_v2.parquet", 1000, data_page_version="2.0", data_page_size=500)
_plain("parquet/no_columns_but_the_wanted.parquet", 10)
_plain("parquet/encoding_rle_dictionary.parquet", 1000)
_plain("parquet/encoding_plain.parquet", 1000, use_dictionary=False)
_plain("parquet/encoding_byte_stream_split.parquet", 1000, use_dictionary=False, column_encoding="BYTE_STREAM_SPLIT")
_plain(
    "parquet/encoding_delta_binary_packed.parquet",
    1000,
    use_dictionary=False,
    column_encoding={"id": "DELTA_BINARY_PACKED", "x0": "PLAIN", "x1": "PLAIN", "x2": "PLAIN"},
)


def _beside(name: str, extra: Any, count: int = 10) -> None:
    """A file with a column more, which is kept or passed over."""

    @makes(name)
    def _(path: Path) -> Truth:
        return parquet(path, rows(count), extra=extra)


_NESTED = [{"a": [{"b": index, "c": [None, "x"]}], "d": None if index % 2 else {"e": 1.5}} for index in range(10)]
_beside("parquet/large_string.parquet", pa.array(["ü"] * 10, pa.large_string()))
_beside("parquet/timestamp_tz.parquet", pa.array(range(10), pa.timestamp("us", "Europe/Berlin")))
_beside("parquet/list.parquet", pa.array([[index, None] for index in range(10)]))
_beside("parquet/struct.parquet", pa.array([{"a": index, "b": "x"} for index in range(10)]))
_beside("parquet/nested_kept.parquet", pa.array(_NESTED))
_beside("parquet/map_kept.parquet", pa.array([[("k", 1), ("l", None)]] * 10, pa.map_(pa.string(), pa.int64())))
_beside("parquet/dictionary_ints.parquet", pa.array([5, 6] * 5).dictionary_encode())
_beside("parquet/huge_strings_beside.parquet", pa.array(["a" * (8 << 20)] * 3), 3)
_beside("parquet/extension_uuid_kept.parquet", pa.array([bytes(16)] * 4, pa.binary(16)).cast(pa.uuid()), 4)


@makes("parquet/zero_row_groups.parquet")
def _(path: Path) -> Truth:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.ParquetWriter(path, table([]).schema).close()
    return []


@makes("parquet/all_null_typed.parquet")
def _(path: Path) -> Truth:
    return parquet(path, [(index, None, None, None) for index in range(10)])


@makes("parquet/dictionary.parquet")
def _(path: Path) -> Truth:
    return parquet(path, rows(10), x0=pa.array([item[1] for item in rows(10)]).dictionary_encode())


@makes("parquet/int_53.parquet")
def _(path: Path) -> Truth:
    parquet(path, rows(3), id=pa.array([2**53 + 1, None, -(2**53) - 1], pa.int64()))
    values = [value for _, value in truth(rows(3)) or []]
    return list(zip([2**53 + 1, None, -(2**53) - 1], values, strict=True))


@makes("parquet/order_shuffled.parquet")
def _(path: Path) -> Truth:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table(rows(10)).select(["x2", "x0", "id", "x1"]), path)
    return truth(rows(10))


@makes("parquet/missing_column.parquet")
def _(path: Path) -> Truth:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table(rows(10)).drop_columns(["x1"]), path)


@makes("parquet/wrong_dtype.parquet")
def _(path: Path) -> Truth:
    parquet(path, rows(10), x0=pa.array(["text"] * 10))


@makes("parquet/int_features.parquet")
def _(path: Path) -> Truth:
    whole: list[Row] = [(index, index, -index, 2) for index in range(10)]
    kinds = {"x0": pa.int8(), "x1": pa.int64(), "x2": pa.uint32()}
    columns = {name: pa.array([item[COLUMNS.index(name)] for item in whole], kind) for name, kind in kinds.items()}
    parquet(path, whole, **columns)
    return truth(whole)


@makes("parquet/bool_feature.parquet")
def _(path: Path) -> Truth:
    parquet(path, rows(10), x0=pa.array([True, False] * 5))
    return truth([(item[0], 1 - item[0] % 2, *item[2:]) for item in rows(10)])


@makes("parquet/non_ascii_names.parquet")
def _(path: Path) -> Truth:
    return parquet(path, rows(10), **{"größe 🎈": pa.array(range(10))})


@makes("parquet/dup_columns.parquet")
def _(path: Path) -> Truth:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = table(rows(3))
    pq.write_table(whole.append_column("x0", whole["x1"]), path)


@makes("parquet/dotted_names.parquet")
def _(path: Path) -> Truth:
    return parquet(path, rows(5), **{"a.b": pa.array(range(5)), "a": pa.array([{"b": 7}] * 5)})


@makes("parquet/empty_names.parquet")
def _(path: Path) -> Truth:
    return parquet(path, rows(10), **{"": pa.array(range(10)), " ": pa.array(range(10)), "\n": pa.array(range(10))})


@makes("parquet/case_differs.parquet")
def _(path: Path) -> Truth:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table(rows(10)).rename_columns(["id", "X0", "x1", "x2"]), path)


@makes("parquet/body_truncated.parquet")
def _(path: Path) -> Truth:
    """The footer is whole, but a part of the pages before it is gone."""
    parquet(path, rows(20_000), written={"use_dictionary": False})
    data = path.read_bytes()
    path.write_bytes(data[:1000] + data[len(data) // 2 :])


def _flip(path: Path, count: int, begin: float, end: float) -> None:
    data = bytearray(path.read_bytes())
    source = random.Random(1)
    for _ in range(count):
        data[source.randrange(int(begin * len(data)), int(end * len(data)))] ^= 0xFF
    path.write_bytes(data)


@makes("parquet/bitflip_nocrc.parquet")
def _(path: Path) -> Truth:
    parquet(path, rows(20_000), written={"compression": "none", "use_dictionary": False})
    _flip(path, 20, 0.2, 0.7)
    return None


@makes("parquet/bitflip_snappy.parquet")
def _(path: Path) -> Truth:
    parquet(path, rows(20_000), written={"use_dictionary": False})
    _flip(path, 20, 0.2, 0.7)
    return None


@makes("parquet/crc_flip.parquet")
def _(path: Path) -> Truth:
    parquet(path, rows(20_000), written={"write_page_checksum": True, "use_dictionary": False, "compression": "none"})
    _flip(path, 1, 0.5, 0.6)


@makes("parquet/crc_flip_in_second_group.parquet")
def _(path: Path) -> Truth:
    written = {"write_page_checksum": True, "use_dictionary": False, "compression": "none", "row_group_size": 10_000}
    parquet(path, rows(20_000), written=written)
    _flip(path, 1, 0.8, 0.9)


@makes("parquet/empty.parquet")
def _(path: Path) -> Truth:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


@makes("parquet/csv_renamed.parquet")
@makes("arrow/csv_renamed.arrow")
@makes("orc/csv_renamed.orc")
def _(path: Path) -> Truth:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("id,x0,x1,x2\n0,1.0,2.0,3.0\n")


@makes("parquet/huge_footer_len.parquet")
def _(path: Path) -> Truth:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"PAR1" + b"\x15\x00" * 50 + struct.pack("<I", 2**31 - 1) + b"PAR1")


@makes("parquet/bad_footer.parquet")
def _(path: Path) -> Truth:
    parquet(path, rows(10))
    data = bytearray(path.read_bytes())
    size = struct.unpack("<I", data[-8:-4])[0]
    data[-8 - size : -8] = random.Random(2).randbytes(size)
    path.write_bytes(data)


@makes("parquet/magic_only.parquet")
def _(path: Path) -> Truth:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"PAR1PAR1")


@makes("parquet/encrypted_footer.parquet")
def _(path: Path) -> Truth:
    parquet(path, rows(10))
    data = path.read_bytes()
    path.write_bytes(b"PARE" + data[4:-4] + b"PARE")


def _footer(path: Path) -> tuple[bytes, bytes]:
    data = path.read_bytes()
    size = struct.unpack("<I", data[-8:-4])[0]
    return data[: -8 - size], data[-8 - size : -8]


def _zigzag(value: int) -> bytes:
    value <<= 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _with_rows(path: Path, old: int, new: int) -> None:
    """Another number of rows wherever the footer speaks of ``old`` (thrift: a field header 0x16, or 0x26, then zigzag)."""
    body, footer = _footer(path)
    for header in (b"\x16", b"\x26"):
        footer = footer.replace(header + _zigzag(old), header + _zigzag(new))
    path.write_bytes(body + footer + struct.pack("<I", len(footer)) + b"PAR1")


@makes("parquet/footer_lies_about_rows.parquet")
def _(path: Path) -> Truth:
    parquet(path, rows(9_000), written={"write_statistics": False})
    _with_rows(path, 9_000, 9_100)


@makes("parquet/four_kb_wants_gigabytes.parquet")
def _(path: Path) -> Truth:
    parquet(path, rows(9_000), written={"write_statistics": False})
    _with_rows(path, 9_000, 1 << 40)


@makes("parquet/big_footer.parquet")
def _(path: Path) -> Truth:
    """30,000 columns and a megabyte of metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wide = table(rows(10), **{f"c{index}": pa.nulls(10, pa.int8()) for index in range(30_000)})
    pq.write_table(wide.replace_schema_metadata({"note": "a" * (1 << 20)}), path, write_statistics=False)
    return truth(rows(10))


@makes("parquet/deep_struct_beside.parquet")
def _(path: Path) -> Truth:
    deep: Any = pa.array(range(10))
    for _ in range(90):
        deep = pa.StructArray.from_arrays([deep], ["a"])
    return parquet(path, rows(10), extra=deep)


@makes("parquet/py_extension_pickle.parquet")
def _(path: Path) -> Truth:
    canary = path.parent / "CANARY_EXECUTED"
    path.parent.mkdir(parents=True, exist_ok=True)

    class Canary:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(canary),)

    marks = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Canary(), protocol=0),
    }
    whole = table(rows(5))
    schema = whole.schema.append(pa.field("extra", pa.int64(), metadata=marks))
    pq.write_table(pa.table([*whole.columns, pa.array(range(5))], schema=schema), path)
    return truth(rows(5))


@makes("parquet/decimal_features.parquet")
def _(path: Path) -> Truth:
    values = [decimal.Decimal(index) / 4 for index in range(10)]
    parquet(path, rows(10), x0=pa.array(values, pa.decimal128(20, 2)))
    return truth([(item[0], item[0] / 4, *item[2:]) for item in rows(10)])


@makes("parquet/float16.parquet")
def _(path: Path) -> Truth:
    return parquet(path, rows(10), x0=pa.array([np.float16(item[1]) for item in rows(10)], pa.float16()))


@makes("parquet/float32.parquet")
def _(path: Path) -> Truth:
    return parquet(path, rows(10), x0=pa.array([item[1] for item in rows(10)], pa.float32()))


def _with_ids(path: Path, ids: list[int], kind: Any) -> Truth:
    of = [(key, *item[1:]) for key, item in zip(ids, rows(len(ids)), strict=True)]
    parquet(path, rows(len(ids)), id=pa.array(ids, kind))
    return truth(of)  # type: ignore[arg-type]


@makes("parquet/uint64_id.parquet")
def _(path: Path) -> Truth:
    return _with_ids(path, [0, 2**63, 2**64 - 1], pa.uint64())


@makes("parquet/ids_near_2_63.parquet")
def _(path: Path) -> Truth:
    return _with_ids(path, [2**63 - 1, -(2**63), 2**63 - 2, -(2**63) + 1], pa.int64())


@makes("parquet/uint64_features.parquet")
def _(path: Path) -> Truth:
    parquet(path, rows(3), x0=pa.array([0, 2**64 - 1, 2**63], pa.uint64()))
    others = [item[2:] for item in rows(3)]
    return [*truth([(0, 0, *others[0])]), (1, None), *truth([(2, 2.0**63, *others[2])])]


@makes("parquet/int64_features_beyond_2_53.parquet")
def _(path: Path) -> Truth:
    parquet(path, rows(2), x0=pa.array([2**53 + 2, 2**60], pa.int64()))
    return truth([(item[0], value, *item[2:]) for item, value in zip(rows(2), (2**53 + 2, 2**60), strict=True)])


@makes("parquet/ints_with_nulls.parquet")
def _(path: Path) -> Truth:
    values = [None if index % 3 == 0 else index for index in range(10)]
    parquet(path, rows(10), x0=pa.array(values, pa.int64()), x1=pa.array(values, pa.int8()))
    return truth([(item[0], value, value, item[3]) for item, value in zip(rows(10), values, strict=True)])


@makes("parquet/time_types_kept.parquet")
def _(path: Path) -> Truth:
    return parquet(
        path,
        rows(4),
        date=pa.array([0, -1, 2932896, None], pa.date32()),
        time=pa.array([0, 1, 86_399_999_999, None], pa.time64("us")),
        far=pa.array([-(2**62), 2**62, 0, None], pa.timestamp("us")),
        nano=pa.array([1, -1, 2**62, None], pa.timestamp("ns", "Asia/Kolkata")),
        span=pa.array([1, -1, 2**62, None], pa.duration("ns")),
        money=pa.array([decimal.Decimal("1.10"), None, decimal.Decimal(f"-{'9' * 30}.99"), None], pa.decimal128(38, 2)),
    )


@makes("parquet/invalid_utf8_kept.parquet")
def _(path: Path) -> Truth:
    first, second, third = parquet(path, rows(3), extra=pa.array([b"a", b"\xff", b"c"]).view(pa.string())) or []
    return [first, (second[0], None), third]


@makes("parquet/far_times_in_a_reject.parquet")
def _(path: Path) -> Truth:
    """A rejected row whose times Python has no objects for."""
    parquet(
        path,
        rows(4),
        x0=pa.array([1, 2**64 - 1, 1, 1], pa.uint64()),
        far=pa.array([0, 2**62, 0, None], pa.timestamp("us")),
        day=pa.array([0, 2**31 - 1, 0, None], pa.date32()),
    )
    first, second, *others = truth([(item[0], 1, *item[2:]) for item in rows(4)])
    return [first, (second[0], None), *others]


@makes("parquet/invalid_utf8_in_a_map.parquet")
def _(path: Path) -> Truth:
    texts = pa.array([b"a", b"\xff", b"c"]).view(pa.string())
    pairs = pa.MapArray.from_arrays([0, 1, 2, 3], pa.array(["k"] * 3), texts)
    first, second, third = parquet(path, rows(3), extra=pairs) or []
    return [first, (second[0], None), third]


@makes("parquet/time_beyond_a_day.parquet")
def _(path: Path) -> Truth:
    times = pa.array([0, 10**15, 1], pa.int64()).view(pa.time64("us"))
    first, second, third = parquet(path, rows(3), extra=times) or []
    return [first, (second[0], None), third]


@makes("parquet/small_file_of_much_text.parquet")
def _(path: Path) -> Truth:
    """300 times the same text of 1 MB: a dictionary of one entry, a few kB on the disk."""
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 300, pa.int32()), pa.array(["a" * 1_000_000]))
    parquet(path, rows(300), extra=words, written={"compression": "zstd", "store_schema": False})
    assert path.stat().st_size < 20_000
    return truth(rows(300))


@makes("parquet/null_type_feature.parquet")
def _(path: Path) -> Truth:
    parquet(path, rows(10), x0=pa.nulls(10))
    return [(index, NAN) for index in range(10)]


# -- Arrow and ORC -------------------------------------------------------------------------------------------------


def _ipc(path: Path, whole: pa.Table, *, stream: bool = False, batch_rows: int | None = None, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(str(path), whole.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(whole, batch_rows)


@makes("arrow/ok.feather")
def _(path: Path) -> Truth:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.feather.write_feather(table(rows(10)), str(path))
    return truth(rows(10))


@makes("arrow/dup_columns.arrow")
def _(path: Path) -> Truth:
    whole = table(rows(10))
    _ipc(path, whole.append_column("x0", whole["x1"]))


@makes("arrow/dup_columns_beside.arrow")
def _(path: Path) -> Truth:
    _ipc(path, table(rows(10)).append_column("y", [range(10)]).append_column("y", [range(10)]))
    return truth(rows(10))


@makes("arrow/truncated.arrow")
def _(path: Path) -> Truth:
    _ipc(path, table(rows(500)), batch_rows=100)
    path.write_bytes(path.read_bytes()[:-2000])


@makes("arrow/stream.arrow")
def _(path: Path) -> Truth:
    _ipc(path, table(rows(500)), stream=True, batch_rows=100)
    return truth(rows(500))


@makes("arrow/truncated_stream.arrow")
def _(path: Path) -> Truth:
    _ipc(path, table(rows(500)), stream=True, batch_rows=100)
    path.write_bytes(path.read_bytes()[:-2000])


@makes("arrow/empty_stream.arrow")
def _(path: Path) -> Truth:
    _ipc(path, table([]), stream=True)
    return []


@makes("arrow/compressed.arrow")
def _(path: Path) -> Truth:
    _ipc(path, table(rows(100)), compression="zstd")
    return truth(rows(100))


@makes("arrow/dictionary_deltas.arrow")
def _(path: Path) -> Truth:
    """Two batches whose dictionaries differ, the second a continuation of the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    words = pa.array(["a", "b", "c", "d"])
    halves = [table(rows(10)), table(rows(10, 10))]
    arrays = [
        pa.DictionaryArray.from_arrays(pa.array([0, 1] * 5, pa.int8()), words[:2]),
        pa.DictionaryArray.from_arrays(pa.array([3, 2] * 5, pa.int8()), words),
    ]
    batches = [half.append_column("extra", array).to_batches()[0] for half, array in zip(halves, arrays, strict=True)]
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.ipc.new_file(str(path), batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return truth(rows(20))


@makes("arrow/views.arrow")
def _(path: Path) -> Truth:
    _ipc(path, table(rows(10), extra=pa.array(["a text that is longer than twelve bytes"] * 10, pa.string_view())))
    return truth(rows(10))


@makes("arrow/run_ends.arrow")
def _(path: Path) -> Truth:
    _ipc(path, table(rows(10), extra=pa.RunEndEncodedArray.from_arrays(pa.array([4, 10]), pa.array([1.5, 2.5]))))
    return truth(rows(10))


@makes("arrow/feather_v1.feather")
def _(path: Path) -> Truth:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"FEA1" + bytes(100) + b"FEA1")


@makes("arrow/bad_offsets.arrow")
def _(path: Path) -> Truth:
    """Text whose offsets lead a gigabyte beyond its bytes: readers that trust them crash."""
    offsets = np.array([0, 1, 1 << 30, 3], np.int32)
    _ipc(
        path,
        table(rows(3), extra=pa.StringArray.from_buffers(3, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"abc"))),
    )


@makes("arrow/wants_gigabytes.arrow")
def _(path: Path) -> Truth:
    """A compressed buffer that says it is 200 GB when unpacked."""
    _ipc(path, table(rows(1000)), compression="zstd")
    data = bytearray(path.read_bytes())
    size = struct.pack("<q", 8000)  # before each buffer stands its size
    assert size in data
    path.write_bytes(data.replace(size, struct.pack("<q", 200 << 30)))


def _orc(path: Path, whole: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.orc.write_table(whole, str(path))


@makes("orc/ok.orc")
def _(path: Path) -> Truth:
    _orc(path, table(rows(100)))
    return truth(rows(100))


@makes("orc/zero_rows.orc")
def _(path: Path) -> Truth:
    _orc(path, table([]))
    return []


@makes("orc/truncated.orc")
def _(path: Path) -> Truth:
    _orc(path, table(rows(5000)))
    path.write_bytes(path.read_bytes()[:-500])


@makes("orc/nested_kept.orc")
def _(path: Path) -> Truth:
    _orc(path, table(rows(10), extra=pa.array(_NESTED)))
    return truth(rows(10))


CASES: tuple[Case, ...] = TABLE + BEYOND
assert {case.name for case in CASES} <= set(MAKERS)
