"""The store's endpoint as an attacker, a curl user and a careless client see it."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from pathlib import Path
from typing import Any

import httpx
import lz4.frame  # type: ignore[import-untyped]
import pyarrow as pa
import pytest
from backports import zstd
from clickhouse_connect.driver.exceptions import DatabaseError

from warehouse.config import WarehouseConfig
from warehouse.endpoint import Endpoint
from warehouse.metrics import Counters
from warehouse.store import Store

READER = ("reader", "read-secret")
SINK = ("sink", "sink-secret")


@pytest.fixture(scope="module")
def http(store: Store) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{store.port}", auth=READER, timeout=30)


def code_of(answer: httpx.Response) -> int:
    return int(answer.headers.get("x-clickhouse-exception-code", 0))


REFUSED = [
    "SELECT file('/etc/passwd')",
    "SELECT file /* x */ ('/etc/passwd')",
    "SELECT `file`('/etc/passwd')",
    "SELECT \"file\"('/etc/passwd')",
    "SELECT FILE('/etc/passwd')",
    "SELECT arrayMap(file, ['/etc/passwd'])",
    "SELECT * APPLY file FROM (SELECT '/etc/passwd' AS a)",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "DESCRIBE file('/etc/passwd')",
    "DESCRIBE TABLE url('http://127.0.0.1:1/x', 'LineAsString')",
    "DESCRIBE s3('http://127.0.0.1:1/x.csv')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "SELECT * FROM s3('http://127.0.0.1:1/x')",
    "SELECT * FROM executable('id', 'TSV', 'x String')",
    "SELECT * FROM remote('127.0.0.1:9000', system.one)",
    "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM Python(os)",
    "SELECT * FROM eval('SELECT 1')",
    "SELECT * FROM arrowstream(0)",
    "SELECT 1 AS format, arrowstream(0)",
    "SELECT aiGenerate('x')",
    "EXPLAIN SELECT file('/etc/hostname')",
    "SELECT 1 INTO OUTFILE '/tmp/flowrate-outfile-test'",
    "SELECT 1 INTO OUTFILE '/tmp/flowrate-outfile-test' AND STDOUT",
    "SELECT 1 settings readonly=1; INSERT INTO usage_cell_1 SELECT * FROM usage_cell_1",
    "SELECT 1; SELECT 2",
    "INSERT INTO schema_migration VALUES (9, 9, 'x', 9)",
    "INSERT INTO FUNCTION file('/tmp/x') SELECT 1",
    "CREATE TABLE x (a Int64) ENGINE = MergeTree ORDER BY a",
    "CREATE TEMPORARY TABLE x (a Int64)",
    "DROP TABLE usage_rated_1",
    "TRUNCATE TABLE usage_rated_1",
    "ALTER TABLE usage_rated_1 DELETE WHERE 1",
    "OPTIMIZE TABLE usage_rated_1",
    "KILL QUERY WHERE 1",
    "SYSTEM SHUTDOWN",
    "SET readonly = 0",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT 1 SETTINGS max_execution_time = 0",
    "BACKUP TABLE usage_rated_1 TO File('/tmp/x')",
    "ATTACH TABLE x FROM '/tmp' (a Int64) ENGINE = MergeTree ORDER BY a",
    "USE system",
    "(INSERT INTO schema_migration VALUES (9, 9, 'x', 9))",
    "WITH x AS (SELECT 1) INSERT INTO schema_migration SELECT 1, 1, 'x', 1",
    "EXPLAIN AST DROP TABLE usage_rated_1; DROP TABLE usage_rated_1",
    "SELECT * FROM `/etc/passwd`",
    "SELECT * FROM '/etc/passwd'",
    "",
    "-- nothing",
]


@pytest.mark.parametrize("statement", REFUSED)
def test_a_reader_cannot(http: httpx.Client, statement: str) -> None:
    answer = http.post("/", content=statement)
    assert answer.status_code >= 400, answer.text
    assert code_of(answer) > 0
    assert "root:" not in answer.text
    assert not Path("/tmp/flowrate-outfile-test").exists()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1 INTO OUTFILE '/tmp/flowrate-outfile-test'",
        "SELECT file('/etc/passwd')",
        "SELECT 1; SELECT 2",
    ],
)
def test_nor_does_the_sink_reach_the_host(http: httpx.Client, statement: str) -> None:
    answer = http.post("/", content=statement, auth=SINK)
    assert answer.status_code >= 400
    assert "root:" not in answer.text
    assert not Path("/tmp/flowrate-outfile-test").exists()


def test_a_bound_identifier_cannot_name_what_is_refused(http: httpx.Client) -> None:
    statement = "SELECT arrayMap({f:Identifier}, ['/etc/hostname'])"
    answer = http.post("/", params={"param_f": "file"}, content=statement)
    assert code_of(answer) == 497
    answer = http.post("/", params={"param_f": "length"}, content=statement)
    assert answer.text == "[13]\n"


@pytest.mark.parametrize(
    ("statement", "body"),
    [
        ("SELECT 'file(x); INSERT' -- file(\n", "file(x); INSERT\n"),
        ("SELECT 1;", "1\n"),
        ("SELECT 1 /* ; /* nested */ file() */;; -- end", "1\n"),
        ("FROM system.one SELECT dummy", "0\n"),
        ("(SELECT 5)", "5\n"),
        ("SELECT $$file('x');$$", "file(\\'x\\');\n"),
        ("WITH 3 AS x SELECT x", "3\n"),
        ("EXISTS TABLE usage_rated", "1\n"),
    ],
)
def test_words_in_strings_and_comments_are_no_words(
    http: httpx.Client, statement: str, body: str
) -> None:
    answer = http.post("/", content=statement)
    assert (answer.status_code, answer.text) == (200, body)


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"readonly": "0"}, 164),
        ({"allow_introspection_functions": "1"}, 164),
        ({"format_schema": "/etc/passwd"}, 164),
        ({"max_execution_time": "x"}, 36),
        ({"output_format_json_named_tuples_as_objects; x": "1"}, 115),
        ({"compress": "1"}, 48),
    ],
)
def test_settings_that_a_reader_may_not_give(
    http: httpx.Client, parameters: dict[str, str], code: int
) -> None:
    assert code_of(http.post("/", params=parameters, content="SELECT 1")) == code


def test_limits_can_be_lowered_but_not_raised(http: httpx.Client) -> None:
    ask = "SELECT getSetting('max_result_rows'), getSetting('max_execution_time')"
    for given, found in (("10", "10"), ("99999999", "200000"), ("0", "200000"), ("-1", "200000")):
        assert (
            http.post("/", params={"max_result_rows": given}, content=ask).text == f"{found}\t2\n"
        )


def test_too_many_rows_and_too_long_runs_end(http: httpx.Client) -> None:
    assert code_of(http.post("/", content="SELECT * FROM numbers(300000)")) == 396
    slow = http.post("/", content="SELECT sum(sipHash64(number)) FROM numbers(100000000000)")
    assert code_of(slow) == 159


def test_a_failed_query_leaves_nothing_for_the_next(http: httpx.Client) -> None:
    """On one connection chDB gives a failed query's rows to the next query."""
    failing = "SELECT throwIf(number = 5), number FROM numbers(10) SETTINGS max_block_size = 1"
    failing = failing.replace(" SETTINGS max_block_size = 1", "")
    for _ in range(3):
        assert code_of(http.post("/", params={"max_block_size": "1"}, content=failing)) == 395
        assert http.post("/", content="SELECT 42").text == "42\n"


def test_bodies_are_bounded_before_and_after_decompression(http: httpx.Client) -> None:
    long = b"SELECT 1 --" + b"x" * 200_000
    assert http.post("/", content=long).status_code == 413
    bomb = gzip.compress(b"SELECT 1 --" + b"x" * 50_000_000)
    assert len(bomb) < 100_000
    answer = http.post("/", content=bomb, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, code_of(answer)) == (413, 307)


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(b"SELECT 7")),
        ("deflate", zlib.compress(b"SELECT 7")),
        ("lz4", lz4.frame.compress(b"SELECT 7")),
        ("zstd", zstd.compress(b"SELECT 7")),
    ],
    ids=["gzip", "deflate", "lz4", "zstd"],
)
def test_codings_of_the_body(http: httpx.Client, coding: str, packed: bytes) -> None:
    headers = {"Content-Encoding": coding}
    assert http.post("/", content=packed, headers=headers).text == "7\n"
    for damaged in (packed[:-3] if coding != "gzip" else packed[:-12], b"\x00" * 20):
        assert http.post("/", content=damaged, headers=headers).status_code == 400


def test_an_unknown_coding_is_refused(http: httpx.Client) -> None:
    assert (
        http.post("/", content=b"SELECT 1", headers={"Content-Encoding": "xz"}).status_code == 400
    )


def test_answers_are_compressed_on_request(http: httpx.Client) -> None:
    for coding in ("gzip", "zstd", "lz4"):
        with http.stream(
            "POST", "/", params={"enable_http_compression": "1"},
            content="SELECT number FROM numbers(5000)", headers={"Accept-Encoding": coding},
        ) as answer:  # fmt: skip
            raw = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == coding
        assert len(raw) < 20_000
    plain = http.post("/", content="SELECT 1", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Basic cmVhZGVyOndyb25n"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Bearer read-secret"},
        {"X-ClickHouse-User": "reader", "X-ClickHouse-Key": ""},
        {"X-ClickHouse-User": "default"},
        {"X-ClickHouse-User": "sink", "X-ClickHouse-Key": "read-secret"},
        {},
    ],
)
def test_wrong_credentials(store: Store, headers: dict[str, str]) -> None:
    answer = httpx.post(f"http://127.0.0.1:{store.port}/", content="SELECT 1", headers=headers)
    assert (answer.status_code, code_of(answer)) == (401, 516)


def test_three_ways_to_say_who_one_is(store: Store) -> None:
    url = f"http://127.0.0.1:{store.port}/"
    headers = {"X-ClickHouse-User": "reader", "X-ClickHouse-Key": "read-secret"}
    assert httpx.post(url, content="SELECT 1", headers=headers).text == "1\n"
    parameters = {"user": "reader", "password": "read-secret", "query": "SELECT 1"}
    assert httpx.get(url, params=parameters).text == "1\n"
    assert httpx.get(url, params={"query": "SELECT 1"}, auth=READER).text == "1\n"


def test_a_foreign_host_header_is_refused(http: httpx.Client) -> None:
    for host in ("evil.example", "evil.example:8123", "127.0.0.1.evil.example", ""):
        answer = http.post("/", content="SELECT 1", headers={"Host": host})
        assert answer.status_code in (400, 421), host
    assert http.post("/", content="SELECT 1", headers={"Host": "localhost:1"}).status_code == 200


def test_ping_needs_no_password(store: Store) -> None:
    assert httpx.get(f"http://127.0.0.1:{store.port}/ping").text == "Ok.\n"


def test_the_headers_of_an_answer(http: httpx.Client) -> None:
    answer = http.post("/", params={"query_id": "q-1"}, content="SELECT 1 AS x FORMAT JSON")
    assert answer.headers["x-clickhouse-query-id"] == "q-1"
    assert answer.headers["x-clickhouse-format"] == "JSON"
    assert answer.headers["x-clickhouse-timezone"] == "UTC"
    assert json.loads(answer.headers["x-clickhouse-summary"])["read_rows"] == "1"
    assert answer.json()["data"] == [{"x": 1}]
    assert http.post("/", params={"default_format": "CSV"}, content="SELECT 'a'").text == '"a"\n'


def test_a_get_of_the_sink_does_not_write(http: httpx.Client) -> None:
    statement = "INSERT INTO schema_migration VALUES (9, 9, 'x', 9)"
    assert code_of(http.get("/", params={"query": statement}, auth=SINK)) == 164


def test_inserts_of_the_sink(http: httpx.Client) -> None:
    def sink(statement: str, content: bytes = b"") -> str:
        answer = http.post("/", params={"query": statement}, content=content, auth=SINK)
        assert answer.status_code == 200, answer.text
        return answer.text

    sink("CREATE TABLE IF NOT EXISTS made (a Int64, b String) ENGINE = MergeTree ORDER BY a")
    sink("TRUNCATE TABLE made")
    sink("INSERT INTO made FORMAT JSONEachRow", b'{"a": 1, "b": "x; file()"}')
    sink("INSERT INTO made (a, b) VALUES (2, 'y')")
    sink("INSERT INTO made SELECT 3, 'z'")
    body = b'INSERT INTO made FORMAT CSV\n4,"FORMAT CSV"\n'
    assert http.post("/", content=body, auth=SINK).status_code == 200
    assert (
        http.post("/", content="SELECT b FROM made ORDER BY a").text
        == "x; file()\ny\nz\nFORMAT CSV\n"
    )
    sink("DROP TABLE made")


def test_a_store_without_passwords_does_not_serve(store: Store) -> None:
    with pytest.raises(ValueError, match="password"):
        Endpoint(WarehouseConfig(reader_password="x"), store.engine, Counters())


def test_the_engine_runs_in_utc(http: httpx.Client) -> None:
    assert os.environ["TZ"] == "UTC"
    assert http.post("/", content="SELECT timezone()").text.strip() in ("UTC", "Etc/UTC")


def test_an_insert_that_a_constraint_or_a_view_refuses_is_no_success(writing: Any) -> None:
    """chDB's streaming insert answers well and writes nothing; ours must not pass that on."""
    writing.command(
        "CREATE TABLE refusing (x UInt32, CONSTRAINT small CHECK x < 10) ENGINE = MergeTree"
        " ORDER BY x"
    )
    writing.command("CREATE TABLE refusing_target (x UInt32) ENGINE = MergeTree ORDER BY x")
    writing.command(
        "CREATE MATERIALIZED VIEW refusing_view TO refusing_target AS"
        " SELECT x + throwIf(x = 5) AS x FROM refusing"
    )
    try:
        for value, match in ((11, "VIOLATED_CONSTRAINT"), (5, "FUNCTION_THROW_IF_VALUE")):
            with pytest.raises(DatabaseError, match=match):
                writing.insert_arrow("refusing", pa.table({"x": pa.array([value], pa.uint32())}))
        writing.insert_arrow("refusing", pa.table({"x": pa.array([3], pa.uint32())}))
        assert int(str(writing.command("SELECT count() FROM refusing_target"))) == 1
    finally:
        for kind, name in (
            ("VIEW", "refusing_view"),
            ("TABLE", "refusing_target"),
            ("TABLE", "refusing"),
        ):
            writing.command(f"DROP {kind} {name}")
