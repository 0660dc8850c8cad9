"""Checks of clickhouse-connect's HTTP client, one feature each."""

from __future__ import annotations

import asyncio
import io
import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import clickhouse_connect
import polars as pl
import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.conformance.clickhouse_checks import check, connect, rows, table
from tests.warehouse.opened_store import opened_store


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
