"""Checks of ClickHouse's tables and types as they work behind the store, one feature each."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from tests.conformance.clickhouse_checks import check, rows, table


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
