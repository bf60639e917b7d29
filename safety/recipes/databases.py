"""Database drivers: their real protocol, with small servers on loopback that answer as much as the work asks."""

from __future__ import annotations

import asyncio
import socket
import struct
import tempfile
import threading

from safety.loopback import exactly, tcp_server
from safety.recipe import recipes_of

recipe = recipes_of("web")
DSN = "host=127.0.0.1 port={} user=u password=p dbname=d sslmode=disable gssencmode=disable connect_timeout=10"


def _talk_postgres(connection: socket.socket) -> None:
    """PostgreSQL's simple query protocol; every SELECT has one row with one column, the text 42."""

    def message(kind: bytes, body: bytes = b"") -> bytes:
        return kind + struct.pack("!i", len(body) + 4) + body

    (length,) = struct.unpack("!i", exactly(connection, 4))
    exactly(connection, length - 4)
    facts = {
        "server_version": "16.0",
        "client_encoding": "UTF8",
        "server_encoding": "UTF8",
        "DateStyle": "ISO, MDY",
        "standard_conforming_strings": "on",
        "integer_datetimes": "on",
        "TimeZone": "UTC",
    }
    ready = message(b"Z", b"I")
    parameters = b"".join(message(b"S", f"{name}\0{value}\0".encode()) for name, value in facts.items())
    connection.sendall(message(b"R", struct.pack("!i", 0)) + parameters + message(b"K", bytes(8)) + ready)
    while (kind := exactly(connection, 1)) != b"X":
        (length,) = struct.unpack("!i", exactly(connection, 4))
        query = exactly(connection, length - 4).rstrip(b"\0").decode()
        word = query.split()[0].upper()
        if kind == b"Q" and word == "SELECT":
            column = b"n\0" + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0)
            rows = message(b"T", struct.pack("!h", 1) + column) + message(b"D", struct.pack("!hi", 1, 2) + b"42")
            connection.sendall(rows + message(b"C", b"SELECT 1\0") + ready)
        else:
            state = {"BEGIN": b"T"}.get(word, b"I")
            connection.sendall(message(b"C", word.encode() + b"\0") + message(b"Z", state))


@recipe("psycopg", "psycopg[binary]>=3.1,<4")
def psycopg_work() -> object:
    import psycopg
    from psycopg import sql

    with tcp_server(_talk_postgres) as port:
        found = []
        with psycopg.connect(DSN.format(port), autocommit=True) as connection:
            query = sql.SQL("select {} from {}").format(sql.Identifier("a"), sql.Identifier("t"))
            assert query.as_string(connection) == 'select "a" from "t"'
            found.append(connection.execute("select 42").fetchone())

        async def again() -> object:
            async with await psycopg.AsyncConnection.connect(DSN.format(port), autocommit=True) as connection:
                return await (await connection.execute("select 42")).fetchone()

        found.append(asyncio.run(again()))
    assert found == [("42",), ("42",)]
    return psycopg.pq.version() > 0


@recipe("psycopg2-binary", "psycopg2-binary>=2.9,<3", modules=("psycopg2", "psycopg2.pool"))
def psycopg2_work() -> object:
    import psycopg2
    import psycopg2.pool
    from psycopg2.extras import Json

    with tcp_server(_talk_postgres) as port:
        pool = psycopg2.pool.ThreadedConnectionPool(1, 3, DSN.format(port))
        connection = pool.getconn()
        with connection, connection.cursor() as cursor:
            cursor.execute("select %s", (Json({"a": 1}),))
            row = cursor.fetchone()
        pool.putconn(connection)
        pool.closeall()
    assert row == ("42",)
    return list(row)


@recipe("asyncpg", "asyncpg>=0.29,<1")
def asyncpg_work() -> object:
    import asyncpg

    async def ask(port: int) -> str:
        connection = await asyncpg.connect(host="127.0.0.1", port=port, user="u", password="p", database="d", ssl=False)
        try:
            return str(await connection.execute("select 42"))
        finally:
            await connection.close()

    with tcp_server(_talk_postgres) as port:
        status = asyncio.run(asyncio.wait_for(ask(port), 20))
    assert status == "SELECT 1"
    return status


@recipe("sqlalchemy", "sqlalchemy>=2,<3", modules=("sqlalchemy", "sqlalchemy.orm"))
def sqlalchemy_work() -> object:
    from sqlalchemy import Column, Integer, String, create_engine, func, select
    from sqlalchemy.orm import Session, declarative_base

    base = declarative_base()

    class Person(base):  # type: ignore[misc,valid-type]
        __tablename__ = "person"
        id = Column(Integer, primary_key=True)
        name = Column(String)

    with tempfile.TemporaryDirectory() as folder:
        engine = create_engine(f"sqlite:///{folder}/a.db", pool_size=3)
        base.metadata.create_all(engine)
        with Session(engine) as session:
            session.add_all([Person(name=name) for name in ("a", "b", "c")])
            session.commit()
        counts: list[int] = []

        def count() -> None:
            with Session(engine) as session:
                counts.append(session.scalar(select(func.count(Person.id))) or 0)

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        engine.dispose()
    assert counts == [3, 3, 3, 3]
    return counts


def _talk_redis(connection: socket.socket) -> None:
    values: dict[bytes, bytes] = {}
    file = connection.makefile("rb")
    while head := file.readline():
        words = []
        for _ in range(int(head[1:])):
            size = int(file.readline()[1:])
            words.append(file.read(size + 2)[:-2])
        word = words[0].upper()
        if word == b"SET":
            values[words[1]] = words[2]
        if word == b"GET":
            value = values.get(words[1], b"")
            connection.sendall(b"$%d\r\n%s\r\n" % (len(value), value))
        elif word == b"PING":
            connection.sendall(b"+PONG\r\n")
        elif word == b"HELLO":
            connection.sendall(b"-NOPROTO unsupported protocol version\r\n")
        else:
            connection.sendall(b"+OK\r\n")


@recipe("redis", "redis>=5,<9")
def redis_work() -> object:
    import redis
    import redis.asyncio

    with tcp_server(_talk_redis) as port:
        client = redis.Redis(host="127.0.0.1", port=port, protocol=2, socket_timeout=10)
        assert client.ping()
        client.set("a", "1")
        found = [client.get("a")]
        with client.pipeline(transaction=False) as pipeline:
            pipeline.set("b", "2").get("b")
            found += pipeline.execute()
        client.close()

        async def again() -> object:
            async with redis.asyncio.Redis(host="127.0.0.1", port=port, protocol=2, socket_timeout=10) as later:
                return await later.ping()

        assert asyncio.run(again())
    assert found == [b"1", True, b"2"]
    return len(found)


def _talk_mongo(connection: socket.socket) -> None:
    import bson

    while True:
        length, request, _, code = struct.unpack("<iiii", exactly(connection, 16))
        body = exactly(connection, length - 16)
        if code == 2004:  # The first hello comes as OP_QUERY.
            at = body.index(b"\0", 4) + 9
            asked = bson.decode(body[at : at + struct.unpack_from("<i", body, at)[0]])
        else:
            asked = bson.decode(body[5 : 5 + struct.unpack_from("<i", body, 5)[0]])
        hello: dict[str, object] = {
            "isWritablePrimary": True,
            "maxBsonObjectSize": 1 << 24,
            "maxMessageSizeBytes": 48_000_000,
        }
        answer: dict[str, object] = {
            "ok": 1.0,
            "maxWriteBatchSize": 1000,
            "minWireVersion": 0,
            "maxWireVersion": 21,
            **hello,
        }
        if "find" in asked:
            answer = {"ok": 1.0, "cursor": {"id": 0, "ns": "d.c", "firstBatch": [{"_id": 1, "n": 42}]}}
        content = bson.encode(answer)
        reply = struct.pack("<iqii", 8, 0, 0, 1) + content if code == 2004 else struct.pack("<iB", 0, 0) + content
        kind = 1 if code == 2004 else 2013
        connection.sendall(struct.pack("<iiii", len(reply) + 16, 1, request, kind) + reply)


@recipe("pymongo", "pymongo>=4.6,<5")
def pymongo_work() -> object:
    import bson
    from pymongo import MongoClient

    assert bson.decode(bson.encode({"a": [1, {"b": 2.5}]})) == {"a": [1, {"b": 2.5}]}
    # Its monitor is a thread.
    with tcp_server(_talk_mongo) as port, MongoClient("127.0.0.1", port, serverSelectionTimeoutMS=10_000) as client:
        found = list(client.d.c.find({"n": {"$gt": 1}}))
    assert found == [{"_id": 1, "n": 42}]
    return found
