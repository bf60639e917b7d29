"""Packages that send from threads of their own, to the collector on loopback that the runner starts."""

from __future__ import annotations

import os
import time

from safety.loopback import PATIENCE, fetch
from safety.recipe import COLLECTOR, recipes_of

recipe = recipes_of("web")


def _collector() -> str:
    return os.environ[COLLECTOR]


def _trace() -> object:
    from ddtrace.trace import tracer

    with tracer.trace("outer", service="small") as outer, tracer.trace("inner") as inner:
        assert inner.trace_id == outer.trace_id
    # Not flushed by hand: its own thread has to send it.
    return True


_AGENT = {
    "DD_TRACE_AGENT_URL": "{collector}",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "DD_TRACE_WRITER_INTERVAL_SECONDS": "0.2",
}


@recipe("ddtrace", "ddtrace>=2,<5", modules=("ddtrace", "ddtrace.trace"), variables=_AGENT, delivers="/traces")
def ddtrace_work() -> object:
    return _trace()


@recipe("ddtrace.auto", "ddtrace>=2,<5", variables=_AGENT, delivers="/traces", alone=True)
def ddtrace_auto_work() -> object:
    import sqlite3

    with sqlite3.connect(":memory:") as connection:
        connection.execute("select 1")
    return _trace()


@recipe("sentry_sdk", "sentry-sdk>=2,<3", delivers="/envelope")
def sentry_work() -> object:
    import logging

    import sentry_sdk

    address = _collector().removeprefix("http://")
    # By itself it would import each framework that is installed.
    options = {"auto_enabling_integrations": False, "shutdown_timeout": PATIENCE}
    sentry_sdk.init(f"http://key@{address}/1", traces_sample_rate=1.0, **options)
    with sentry_sdk.start_transaction(name="work"):
        logging.getLogger("work").error("an error for the collector")
    try:
        raise ValueError("seen")
    except ValueError:
        assert sentry_sdk.capture_exception()
    # Sent by its thread; what is left is sent by its exit function.
    return True


@recipe(
    "opentelemetry-sdk",
    "opentelemetry-sdk>=1.25,<2",
    "opentelemetry-exporter-otlp-proto-http>=1.25,<2",
    modules=(
        "opentelemetry.sdk.trace.export",
        "opentelemetry.sdk.metrics.export",
        "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    ),
    delivers="/v1/traces",
)
def opentelemetry_work() -> object:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(f"{_collector()}/v1/traces"), schedule_delay_millis=100)
    )
    with provider.get_tracer("small").start_as_current_span("outer") as span:
        identifier = span.get_span_context().trace_id
    reader = InMemoryMetricReader()
    MeterProvider([reader]).get_meter("small").create_counter("n").add(3)
    assert reader.get_metrics_data() is not None and identifier
    return True


@recipe("newrelic", "newrelic>=9,<15", modules=("newrelic.agent",))
def newrelic_work() -> object:
    import tempfile
    import threading

    import newrelic.agent

    with tempfile.NamedTemporaryFile("w", suffix=".ini") as settings:
        # Developer mode is its own stand-in for the collector: all but the network.
        settings.write("[newrelic]\nlicense_key = x\napp_name = small\ndeveloper_mode = true\nlog_file = stderr\n")
        settings.flush()
        newrelic.agent.initialize(settings.name)
    application = newrelic.agent.register_application(timeout=PATIENCE)

    @newrelic.agent.background_task(application, name="work")
    def work() -> int:
        newrelic.agent.record_custom_metric("Custom/n", 3)
        return 42

    assert work() == 42 and application.active
    assert any("NR" in thread.name for thread in threading.enumerate())
    return True


@recipe("prometheus_client", "prometheus-client>=0.20,<1", delivers="/metrics/job/small")
def prometheus_work() -> object:
    import prometheus_client as prometheus

    registry = prometheus.CollectorRegistry()
    prometheus.Counter("work", "Done.", registry=registry).inc(3)
    prometheus.Histogram("took", "Time.", registry=registry).observe(0.5)
    prometheus.push_to_gateway(_collector(), job="small", registry=registry)
    server, thread = prometheus.start_http_server(0, "127.0.0.1", registry)
    text = fetch(f"http://127.0.0.1:{server.server_port}/metrics").decode()
    server.shutdown()
    thread.join()
    server.server_close()
    assert "work_total 3.0" in text
    return time.time() > 0
