"""Names, keys and identifiers: nobody sets a seed, and two processes must never draw the same."""

from __future__ import annotations

from typing import Any

from safety.generators.base import Source, generator


@generator("sqlite3 random()", "data", "sqlite3")
class SQLite(Source):
    @staticmethod
    def draw() -> object:
        import sqlite3

        return list(sqlite3.connect(":memory:").execute("select random(), random()").fetchone())


@generator("secrets, os.urandom", "data", "secrets")
class Secrets(Source):
    @staticmethod
    def draw() -> object:
        import secrets

        return secrets.token_hex(16)


@generator("ssl.RAND_bytes", "data", "ssl")
class OpenSSL(Source):
    @staticmethod
    def draw() -> object:
        import ssl

        return ssl.RAND_bytes(16).hex()


@generator("uuid.uuid1", "data", "uuid")
class UUID1(Source):
    @staticmethod
    def draw() -> object:
        import uuid

        return str(uuid.uuid1())


@generator("uuid.uuid4", "data", "uuid")
class UUID4(Source):
    @staticmethod
    def draw() -> object:
        import uuid

        return str(uuid.uuid4())


@generator("tempfile names", "data", "tempfile")
class Tempfile(Source):
    @staticmethod
    def draw() -> object:
        import tempfile

        with tempfile.NamedTemporaryFile() as file:
            return file.name


@generator("cryptography (its own OpenSSL)", "web", "cryptography.hazmat.primitives.asymmetric.ec")
class Cryptography(Source):
    @staticmethod
    def draw() -> object:
        from cryptography.hazmat.primitives.asymmetric import ec

        return str(ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value)


@generator("fastuuid, uuid_utils (Rust)", "web", "fastuuid", "uuid_utils")
class RustUUID(Source):
    @staticmethod
    def draw() -> object:
        import fastuuid
        import uuid_utils

        return [str(fastuuid.uuid4()), str(uuid_utils.uuid4()), str(uuid_utils.uuid7()), str(uuid_utils.uuid1())]


@generator("bson ObjectId", "web", "bson")
class ObjectId(Source):
    @staticmethod
    def draw() -> object:
        import bson

        return str(bson.ObjectId())


@generator("ddtrace ids", "web", "ddtrace.trace")
class DdtraceIds(Source):
    @staticmethod
    def draw() -> object:
        from ddtrace.trace import tracer

        with tracer.trace("outer") as outer, tracer.trace("inner") as inner:
            return [outer.trace_id, outer.span_id, inner.span_id]


@generator("aiohttp websocket masks", "web", "aiohttp")
class AiohttpMasks(Source):
    @staticmethod
    def draw() -> object:
        import asyncio
        from unittest.mock import Mock

        import aiohttp.http_websocket as websocket

        async def writer() -> Any:
            return websocket.WebSocketWriter(Mock(), Mock(), use_mask=True)

        # Its default argument is a generator made while it is imported.
        return [asyncio.run(writer()).get_random_bits() for _ in range(2)]


@generator("opentelemetry ids", "web", "opentelemetry.sdk.trace")
class OpentelemetryIds(Source):
    @staticmethod
    def draw() -> object:
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        return RandomIdGenerator().generate_trace_id()
