"""Which of clickhouse-connect's and ClickHouse's features work through the store's endpoint.

The ordinary HTTP client, unchanged, as it would be against a server. What is known to fail is a
strict xfail: when it begins to work, the test says so. docs/decisions/0403 lists the result.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import clickhouse_connect
import polars as pl
import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_connect.driver.external import ExternalData

from tests.warehouse.opened_store import opened_store

Check = Callable[[Any], None]
CHECKS: dict[str, Check] = {}

KNOWN_FAILURES = {
    "create user": "chDB has no access management: users are the endpoint's two",
    "transactions": "chDB has no Keeper",
    "external data": "the endpoint refuses files in a form: chDB has no external tables",
    "temporary table in a session": "no statement sees another's session",
    "backup to file": "chDB has no backups.allowed_path",
    "server time zone of DateTime": "chDB drops the zone of DateTime('tz') in Native",
}
"""Check -> why it fails."""


def check(name: str) -> Callable[[Check], Check]:
    def register(function: Check) -> Check:
        assert name not in CHECKS
        CHECKS[name] = function
        return function

    return register


def connect(**more: Any) -> Any:
    config = opened_store().config
    return clickhouse_connect.get_client(
        host="127.0.0.1",
        port=config.endpoint.port,
        username=more.pop("username", config.sink_user),
        password=more.pop("password", config.sink_password),
        **more,
    )


@pytest.fixture(scope="module")
def client() -> Any:
    setup = connect(autogenerate_session_id=False)
    setup.command("CREATE DATABASE IF NOT EXISTS conformance")
    setup.close()
    return connect(database="conformance", autogenerate_session_id=False)


def names_with_reason() -> list[Any]:
    return [
        pytest.param(
            name,
            marks=pytest.mark.xfail(strict=True, reason=KNOWN_FAILURES[name])
            if name in KNOWN_FAILURES
            else (),
        )
        for name in CHECKS
    ]


def table(client: Any, name: str, columns: str, engine: str = "MergeTree ORDER BY tuple()") -> str:
    client.command(f"DROP TABLE IF EXISTS {name} SYNC")
    client.command(f"CREATE TABLE {name} ({columns}) ENGINE = {engine}")
    return name


def rows(client: Any, sql: str, **more: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(sql, **more).result_rows]


# -- the client ---------------------------------------------------------------------------------


@check("ping and version")
def _(client: Any) -> None:
    assert client.ping()
    assert client.server_version.startswith("26.")


@check("insert rows")
def _(client: Any) -> None:
    table(client, "t", "a Int64, b String")
    summary = client.insert("t", [[1, "x"], [2, "y"]], column_names=["a", "b"])
    assert summary.written_rows == 2
    assert rows(client, "SELECT * FROM t ORDER BY a") == [(1, "x"), (2, "y")]


@check("insert rows column oriented, compressed")
def _(client: Any) -> None:
    table(client, "t", "a Int64, b Nullable(String)")
    for compress in ("lz4", "zstd", "gzip"):
        packed = connect(database="conformance", compress=compress)
        packed.insert("t", [list(range(1000)), ["x"] * 1000], column_oriented=True)
        assert len(packed.query("SELECT number FROM numbers(9000)").result_rows) == 9000
    assert rows(client, "SELECT count(), sum(a) FROM t") == [(3000, 3 * 499_500)]


@check("insert_arrow")
def _(client: Any) -> None:
    table(client, "t", "a Int64, d Decimal(38, 18), s LowCardinality(String)")
    data = pa.table(
        {
            "a": pa.array([1, 2]),
            "d": pa.array([Decimal("0.000000000000000001"), None], pa.decimal128(38, 18)),
            "s": ["p", "q"],
        }
    )
    client.insert_arrow("t", data)
    assert rows(client, "SELECT a, d, s FROM t ORDER BY a") == [
        (1, Decimal("0.000000000000000001"), "p"),
        (2, Decimal(0), "q"),
    ]


@check("insert_df (pandas)")
def _(client: Any) -> None:
    pandas = pytest.importorskip("pandas")
    table(client, "t", "a Int64, at DateTime64(3, 'UTC')")
    at = datetime(2026, 1, 2, tzinfo=UTC)
    client.insert_df("t", pandas.DataFrame({"a": [1], "at": [at]}))
    assert rows(client, "SELECT a, toUnixTimestamp(at) FROM t") == [(1, int(at.timestamp()))]


@check("insert_df_arrow (polars)")
def _(client: Any) -> None:
    table(client, "t", "a Int64, s String")
    client.insert_df_arrow("t", pl.DataFrame({"a": [1, 2], "s": ["x", "y"]}))
    assert rows(client, "SELECT sum(a) FROM t") == [(3,)]


@check("raw_insert JSONEachRow")
def _(client: Any) -> None:
    table(client, "t", "a Int64, s String")
    client.raw_insert("t", insert_block=b'{"a": 1, "s": "FORMAT x; file()"}\n', fmt="JSONEachRow")
    assert rows(client, "SELECT s FROM t") == [("FORMAT x; file()",)]


@check("raw_insert Parquet, compressed")
def _(client: Any) -> None:
    table(client, "t", "a Int64")
    buffer = io.BytesIO()
    pl.DataFrame({"a": range(100)}).write_parquet(buffer)
    client.raw_insert("t", insert_block=buffer.getvalue(), fmt="Parquet")
    packed = __import__("gzip").compress(buffer.getvalue())
    client.raw_insert("t", insert_block=packed, fmt="Parquet", compression="gzip")
    assert rows(client, "SELECT count() FROM t") == [(200,)]


@check("query_arrow to polars")
def _(client: Any) -> None:
    found = pl.from_arrow(client.query_arrow("SELECT number AS n FROM numbers(5)"))
    assert isinstance(found, pl.DataFrame)
    assert found["n"].sum() == 10


@check("query_df_arrow (polars)")
def _(client: Any) -> None:
    found = client.query_df_arrow("SELECT number AS n FROM numbers(5)", dataframe_library="polars")
    assert found["n"].to_list() == [0, 1, 2, 3, 4]


@check("query_df (pandas)")
def _(client: Any) -> None:
    pytest.importorskip("pandas")
    assert client.query_df("SELECT number AS n FROM numbers(5)")["n"].sum() == 10


@check("query_np")
def _(client: Any) -> None:
    assert client.query_np("SELECT number FROM numbers(5)").sum() == 10


@check("streams of row blocks, rows and arrow")
def _(client: Any) -> None:
    sql = "SELECT number FROM numbers(200000)"
    with client.query_row_block_stream(sql, settings={"max_block_size": 10_000}) as blocks:
        assert sum(len(block) for block in blocks) == 200_000
    with client.query_rows_stream(sql) as stream:
        assert sum(1 for _ in stream) == 200_000
    with client.query_arrow_stream(sql) as batches:
        assert sum(batch.num_rows for batch in batches) == 200_000


@check("raw_query and raw_stream")
def _(client: Any) -> None:
    assert client.raw_query("SELECT 1, 'x'", fmt="CSV") == b'1,"x"\n'
    with client.raw_stream("SELECT number FROM numbers(10)", fmt="TSV") as stream:
        assert stream.read().count(b"\n") == 10


@check("parameters bound by the server")
def _(client: Any) -> None:
    given = {
        "s": "it's\ta \\ new\nline", "a": ["x'y", "z"], "n": -5, "d": date(2026, 1, 2),
        "t": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "e": Decimal("1.5"), "o": None,
    }  # fmt: skip
    sql = (
        "SELECT {s:String}, {a:Array(String)}, {n:Int64}, {d:Date}, {t:DateTime('UTC')},"
        " {e:Decimal(9, 2)}, {o:Nullable(String)}"
    )
    (row,) = rows(client, sql, parameters=given)
    assert row[:4] == (given["s"], given["a"], -5, date(2026, 1, 2))
    assert row[5:] == (Decimal("1.50"), None)


@check("parameters bound by the client")
def _(client: Any) -> None:
    found = rows(client, "SELECT %(s)s, %(n)s", parameters={"s": "it's", "n": 3})
    assert found == [("it's", 3)]


@check("parameters as a form")
def _(client: Any) -> None:
    form = connect(form_encode_query_params=True, autogenerate_session_id=False)
    assert rows(form, "SELECT {s:String}", parameters={"s": "x" * 20_000}) == [("x" * 20_000,)]


@check("a result without rows has its columns")
def _(client: Any) -> None:
    found = client.query("SELECT number AS a, 'x' AS b FROM numbers(0)")
    assert found.column_names == ("a", "b")
    assert found.result_rows == []
    assert client.query("SELECT 1 AS a LIMIT 0").column_names == ("a",)


@check("command returns a value")
def _(client: Any) -> None:
    assert client.command("SELECT 5") == 5
    assert client.command("SELECT 'a', 'b'") == ["a", "b"]


@check("settings per query and per client")
def _(client: Any) -> None:
    sql = "SELECT getSetting('max_threads')"
    assert client.query(sql, settings={"max_threads": 1}).result_rows[0][0] == 1
    own = connect(settings={"max_threads": 1}, autogenerate_session_id=False)
    assert own.query(sql).result_rows[0][0] == 1


@check("max_execution_time")
def _(client: Any) -> None:
    with pytest.raises(DatabaseError) as caught:
        client.query(
            "SELECT sum(sipHash64(number)) FROM numbers(100000000000)",
            settings={"max_execution_time": 1},
        )
    assert caught.value.code == 159


@check("readonly user")
def _(client: Any) -> None:
    config = opened_store().config
    table(client, "t", "a Int64")
    reader = connect(username=config.reader_user, password=config.reader_password)
    assert reader.query("SELECT count() FROM conformance.t").result_rows == [(0,)]
    with pytest.raises(DatabaseError) as caught:
        reader.command("INSERT INTO conformance.t VALUES (1)")
    assert caught.value.code == 164
    with pytest.raises(DatabaseError):
        reader.insert("conformance.t", [[1]], column_names=["a"])


@check("wrong password")
def _(client: Any) -> None:
    with pytest.raises(DatabaseError) as caught:
        connect(password="wrong")
    assert caught.value.code == 516


@check("error codes and names")
def _(client: Any) -> None:
    for sql, code in (("SELECT * FROM absent", 60), ("SELEC 1", 62), ("SELECT absent", 47)):
        with pytest.raises(DatabaseError) as caught:
            client.query(sql)
        assert caught.value.code == code


@check("query id and summary")
def _(client: Any) -> None:
    found = client.query("SELECT number FROM numbers(10)", settings={"query_id": "mine"})
    assert found.query_id == "mine"
    assert int(found.summary["read_rows"]) == 10


@check("async client")
def _(client: Any) -> None:
    async def ask() -> Any:
        config = opened_store().config
        made = await clickhouse_connect.get_async_client(
            host="127.0.0.1",
            port=config.endpoint.port,
            username=config.reader_user,
            password=config.reader_password,
        )
        found = await made.query("SELECT 1")
        await made.close()
        return found.result_rows

    assert asyncio.run(ask()) == [(1,)]


@check("one client, many threads")
def _(client: Any) -> None:
    table(client, "t", "a Int64")
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                client.insert("t", [[number * 5 + turn]], column_names=["a"])
                assert client.query(f"SELECT {number}").result_rows == [(number,)]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert rows(client, "SELECT count(), uniqExact(a) FROM t") == [(20, 20)]


@check("client with a session of its own")
def _(client: Any) -> None:
    assert connect(autogenerate_session_id=True).query("SELECT 1").result_rows == [(1,)]


# -- tables -------------------------------------------------------------------------------------


@check("SummingMergeTree")
def _(client: Any) -> None:
    table(client, "t", "k String, v Int64", "SummingMergeTree ORDER BY k")
    for value in (1, 2):
        client.insert("t", [["a", value]], column_names=["k", "v"])
    assert rows(client, "SELECT k, v FROM t FINAL") == [("a", 3)]


@check("AggregatingMergeTree with states")
def _(client: Any) -> None:
    columns = "k String, s AggregateFunction(sum, Int64), u AggregateFunction(uniq, String)"
    table(client, "t", columns, "AggregatingMergeTree ORDER BY k")
    insert = "INSERT INTO t SELECT 'a', sumState(toInt64(number)), uniqState(toString(number))"
    for _ in range(2):
        client.command(f"{insert} FROM numbers(10) SETTINGS insert_deduplicate = 0")
    assert rows(client, "SELECT sumMerge(s), uniqMerge(u) FROM t") == [(90, 10)]


@check("ReplacingMergeTree with version and delete")
def _(client: Any) -> None:
    engine = "ReplacingMergeTree(ver, gone) ORDER BY k"
    table(client, "t", "k String, ver Int64, gone UInt8", engine)
    data = [["a", 1, 0], ["a", 2, 0], ["b", 1, 0], ["b", 2, 1]]
    client.insert("t", data, column_names=["k", "ver", "gone"])
    assert rows(client, "SELECT k, ver FROM t FINAL") == [("a", 2)]


@check("materialized view")
def _(client: Any) -> None:
    client.command("DROP VIEW IF EXISTS v")
    table(client, "t", "k String, v Int64")
    columns = (
        "k String, v SimpleAggregateFunction(sum, Int64),"
        " p AggregateFunction(quantileTDigest, Int64)"
    )
    table(client, "s", columns, "AggregatingMergeTree ORDER BY k")
    client.command(
        "CREATE MATERIALIZED VIEW v TO s AS SELECT k, sum(t.v) AS v,"
        " quantileTDigestState(t.v) AS p FROM t GROUP BY k"
    )
    client.insert("t", [["a", 1], ["a", 3]], column_names=["k", "v"])
    assert rows(client, "SELECT sum(v), quantileTDigestMerge(p) FROM s") == [(4, 1.0)]
    client.command("DROP VIEW v")


@check("refreshable materialized view")
def _(client: Any) -> None:
    client.command("DROP VIEW IF EXISTS v")
    table(client, "s", "n UInt64")
    client.command(
        "CREATE MATERIALIZED VIEW v REFRESH EVERY 1 HOUR TO s AS SELECT number AS n FROM numbers(3)"
    )
    client.command("SYSTEM WAIT VIEW v")
    assert rows(client, "SELECT count() FROM s") == [(3,)]
    client.command("DROP VIEW v")


@check("projection")
def _(client: Any) -> None:
    columns = "a Int64, b Int64, PROJECTION p (SELECT b, count() GROUP BY b)"
    table(client, "t", columns, "MergeTree ORDER BY a")
    client.command("INSERT INTO t SELECT number, number % 7 FROM numbers(100000)")
    plan = rows(client, "EXPLAIN projections = 1 SELECT b, count() FROM t GROUP BY b")
    assert any("p" in str(row[0]).split() or "(p)" in str(row[0]) for row in plan)


@check("TTL delete")
def _(client: Any) -> None:
    table(client, "t", "at DateTime, a Int64", "MergeTree ORDER BY a TTL at + INTERVAL 1 DAY")
    client.command("INSERT INTO t VALUES ('2020-01-01 00:00:00', 1), ('2099-01-01 00:00:00', 2)")
    client.command("OPTIMIZE TABLE t FINAL")
    assert rows(client, "SELECT a FROM t") == [(2,)]


@check("TTL group by")
def _(client: Any) -> None:
    engine = (
        "MergeTree ORDER BY (k, at) TTL at + INTERVAL 1 DAY GROUP BY k SET v = sum(v), at = min(at)"
    )
    table(client, "t", "k String, at DateTime, v Int64", engine)
    client.command(
        "INSERT INTO t VALUES ('a', '2020-01-01 00:00:00', 1), ('a', '2020-01-02 00:00:00', 2)"
    )
    client.command("OPTIMIZE TABLE t FINAL")
    assert rows(client, "SELECT k, v FROM t") == [("a", 3)]


def dictionary(client: Any, columns: str, key: str, layout: str) -> None:
    client.command("DROP DICTIONARY IF EXISTS d")
    client.command(
        f"CREATE DICTIONARY d ({columns}) PRIMARY KEY {key}"
        f" SOURCE(CLICKHOUSE(TABLE 't' DB 'conformance')) LIFETIME(0) LAYOUT({layout})"
    )


@check("dictionary HASHED")
def _(client: Any) -> None:
    table(client, "t", "k UInt64, v String")
    client.insert("t", [[1, "x"]], column_names=["k", "v"])
    dictionary(client, "k UInt64, v String", "k", "HASHED()")
    assert client.command("SELECT dictGet('d', 'v', toUInt64(1))") == "x"
    client.command("DROP DICTIONARY d")


@check("dictionary IP_TRIE")
def _(client: Any) -> None:
    table(client, "t", "prefix String, v String")
    client.insert(
        "t", [["10.0.0.0/8", "own"], ["10.1.0.0/16", "lab"]], column_names=["prefix", "v"]
    )
    dictionary(client, "prefix String, v String", "prefix", "IP_TRIE()")
    assert client.command("SELECT dictGet('d', 'v', tuple(toIPv4('10.1.2.3')))") == "lab"
    client.command("DROP DICTIONARY d")


@check("dictionary RANGE_HASHED")
def _(client: Any) -> None:
    table(client, "t", "k UInt64, since Date, until Date, v String")
    client.command("INSERT INTO t VALUES (1, '2026-01-01', '2026-01-31', 'january')")
    dictionary(
        client, "k UInt64, since Date, until Date, v String", "k",
        "RANGE_HASHED()) RANGE(MIN since MAX until",
    )  # fmt: skip
    assert (
        client.command("SELECT dictGet('d', 'v', toUInt64(1), toDate('2026-01-05'))") == "january"
    )
    client.command("DROP DICTIONARY d")


@check("column types round trip")
def _(client: Any) -> None:
    columns = (
        "l LowCardinality(String), i4 IPv4, i6 IPv6, d Decimal(38, 18), t DateTime64(3, 'UTC'),"
        " m Map(String, Int64), a Array(Nullable(Int64)), b Bool, u UUID,"
        " tu Tuple(x Int64, y String),"
        " e Enum8('no' = 0, 'yes' = 1), f Float64, fs FixedString(3)"
    )
    table(client, "t", columns)
    value = [
        "x", IPv4Address("10.0.0.1"), IPv6Address("2001:db8::1"), Decimal("-1.000000000000000001"),
        datetime(2026, 1, 2, 3, 4, 5, 678000, UTC), {"k": 1}, [1, None], True,
        __import__("uuid").UUID(int=5), (1, "y"), "yes", 0.5, b"abc",
    ]  # fmt: skip
    names = [part.strip().split()[0] for part in
             ["l", "i4", "i6", "d", "t", "m", "a", "b", "u", "tu", "e", "f", "fs"]]  # fmt: skip
    client.insert("t", [value], column_names=names)
    (row,) = client.query("SELECT * FROM t", tz_mode="aware").result_rows
    pair = tuple(row[9].values()) if isinstance(row[9], dict) else row[9]
    assert [*row[:9], pair, *row[10:12]] == [
        *value[:9], value[9], *value[10:12]
    ]  # fmt: skip


@check("codecs")
def _(client: Any) -> None:
    table(
        client,
        "t",
        "a Int64 CODEC(Delta, ZSTD(1)), b Int64 CODEC(T64, LZ4), c Float64 CODEC(Gorilla)",
    )
    client.command("INSERT INTO t SELECT number, number, number FROM numbers(1000)")
    assert rows(client, "SELECT sum(a), sum(b), sum(c) FROM t") == [(499500, 499500, 499500.0)]


@check("bloom filter index")
def _(client: Any) -> None:
    columns = "a Int64, s String, INDEX by_s s TYPE bloom_filter(0.01) GRANULARITY 1"
    table(client, "t", columns, "MergeTree ORDER BY a")
    client.command("INSERT INTO t SELECT number, toString(number) FROM numbers(100000)")
    plan = rows(client, "EXPLAIN indexes = 1 SELECT a FROM t WHERE s = '77'")
    assert any("by_s" in str(row[0]) for row in plan)


@check("deduplication token")
def _(client: Any) -> None:
    engine = "MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100"
    table(client, "t", "a Int64", engine)
    for value in (1, 2):
        client.insert(
            "t", [[value]], column_names=["a"], settings={"insert_deduplication_token": "x"}
        )
    assert rows(client, "SELECT a FROM t") == [(1,)]


@check("asynchronous insert")
def _(client: Any) -> None:
    table(client, "t", "a Int64")
    settings = {"async_insert": 1, "wait_for_async_insert": 1}
    client.insert("t", [[1]], column_names=["a"], settings=settings)
    assert rows(client, "SELECT a FROM t") == [(1,)]


@check("mutations")
def _(client: Any) -> None:
    table(client, "t", "a Int64, b Int64", "MergeTree ORDER BY a")
    client.command("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)")
    client.command("ALTER TABLE t UPDATE b = 9 WHERE a = 1 SETTINGS mutations_sync = 2")
    client.command("ALTER TABLE t DELETE WHERE a = 2 SETTINGS mutations_sync = 2")
    client.command("DELETE FROM t WHERE a = 3")
    assert rows(client, "SELECT a, b FROM t") == [(1, 9)]


@check("replace partition")
def _(client: Any) -> None:
    for name in ("t", "s"):
        table(client, name, "p Int64, a Int64", "MergeTree PARTITION BY p ORDER BY a")
    client.command("INSERT INTO t VALUES (1, 1)")
    client.command("INSERT INTO s VALUES (1, 7)")
    client.command("ALTER TABLE t REPLACE PARTITION 1 FROM s")
    assert rows(client, "SELECT a FROM t") == [(7,)]


@check("exchange tables")
def _(client: Any) -> None:
    for name, value in (("t", 1), ("s", 2)):
        table(client, name, "a Int64")
        client.insert(name, [[value]], column_names=["a"])
    client.command("EXCHANGE TABLES t AND s")
    assert rows(client, "SELECT a FROM t") == [(2,)]


@check("EmbeddedRocksDB")
def _(client: Any) -> None:
    table(client, "t", "k String, v Int64", "EmbeddedRocksDB PRIMARY KEY k")
    for value in (1, 2):
        client.insert("t", [["a", value]], column_names=["k", "v"])
    assert rows(client, "SELECT v FROM t WHERE k = 'a'") == [(2,)]


@check("window functions and quantiles")
def _(client: Any) -> None:
    sql = (
        "SELECT max(total), quantile(0.95)(total)"
        " FROM (SELECT sum(number) OVER (ORDER BY number) AS total FROM numbers(10))"
    )
    assert rows(client, sql)[0][0] == 45


# -- known to fail ------------------------------------------------------------------------------


@check("external data")
def _(client: Any) -> None:
    data = ExternalData(file_name="x.csv", data=b"1\n2\n", fmt="CSV", structure="a Int64")
    assert rows(client, "SELECT sum(a) FROM x", external_data=data) == [(3,)]


@check("create user")
def _(client: Any) -> None:
    client.command("CREATE USER conformance_user IDENTIFIED WITH plaintext_password BY 'x'")


@check("transactions")
def _(client: Any) -> None:
    client.command("BEGIN TRANSACTION")


@check("temporary table in a session")
def _(client: Any) -> None:
    own = connect(session_id="conformance")
    own.command("CREATE TEMPORARY TABLE x (a Int64)")
    assert own.query("SELECT count() FROM x").result_rows == [(0,)]


@check("backup to file")
def _(client: Any) -> None:
    table(client, "t", "a Int64")
    client.command("BACKUP TABLE t TO File('conformance')")


@check("server time zone of DateTime")
def _(client: Any) -> None:
    sql = "SELECT toDateTime('2026-01-02 03:04:05', 'Asia/Kathmandu')"
    (value,) = client.query(sql, tz_mode="aware").result_rows[0]
    assert str(value.tzinfo) == "Asia/Kathmandu"


@pytest.mark.parametrize("name", names_with_reason())
def test_feature(client: Any, name: str) -> None:
    CHECKS[name](client)


def test_the_list_is_as_long_as_it_says() -> None:
    assert len(CHECKS) >= 44
    assert set(KNOWN_FAILURES) <= set(CHECKS)
