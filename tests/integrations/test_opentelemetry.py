"""The OpenTelemetry integration with the real SDK, over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from yarl import URL

import wherry
from wherry.integrations.opentelemetry import DURATION_BUCKETS, create_trace_config, redacted_url


class Telemetry:
    """The SDK with everything kept in memory, and a session that reports to it."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider(metric_readers=[self.reader])
        self.config = create_trace_config(
            tracer_provider=self.tracers, meter_provider=self.meters, **options
        )

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def points(self) -> list[Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
        assert (metric.name, metric.unit) == ("http.client.request.duration", "s")
        return list(metric.data.data_points)


class Server:
    port = 0

    def __init__(self) -> None:
        self.heads: list[str] = []

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                path = head.split(" ")[1]
                if path.startswith("/go"):
                    line = f"303 See Other\r\nLocation: {path[3:]}"
                elif path == "/loop":
                    line = "302 Found\r\nLocation: /loop"
                elif path == "/nowhere":
                    line = "302 Found\r\nLocation: ftp://example.org/"
                elif path == "/unchanged":
                    line = "304 Not Modified"
                elif path == "/missing":
                    line = "404 Not Found"
                elif path == "/break":
                    break
                else:
                    line = "200 OK"
                writer.write(f"HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n".encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    fake = Server()
    listener = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.port = listener.sockets[0].getsockname()[1]
    yield fake
    listener.close()
    await listener.wait_closed()


def traceparent(head: str) -> str:
    (value,) = [
        line.partition(": ")[2]
        for line in head.split("\r\n")
        if line.lower().startswith("traceparent:")
    ]
    return value


async def test_a_request_is_a_client_span_a_measurement_and_a_context_in_the_fields(
    server: Server,
) -> None:
    telemetry = Telemetry()
    async with (
        wherry.ClientSession(trace_configs=[telemetry.config]) as session,
        session.get(server.url("/path?q=1#part")),
    ):
        pass
    (span,) = telemetry.spans
    assert span.name == "GET"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "url.full": server.url("/path?q=1"),
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
    }
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "wherry"
    context = span.get_span_context()
    assert context is not None
    assert (
        traceparent(server.heads[0])
        == f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    )
    (point,) = telemetry.points()
    assert dict(point.attributes) == {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
    }
    assert point.count == 1
    assert 0 < point.sum < 5
    assert tuple(point.explicit_bounds) == DURATION_BUCKETS


async def test_the_span_lies_under_the_callers(server: Server) -> None:
    telemetry = Telemetry()
    tracer = telemetry.tracers.get_tracer("test")
    async with wherry.ClientSession(trace_configs=[telemetry.config]) as session:
        with tracer.start_as_current_span("caller") as caller:
            async with session.get(server.url()):
                pass
            assert trace.get_current_span() is caller
    child, parent = telemetry.spans
    assert child.parent is not None
    assert parent.context is not None
    assert child.parent.span_id == parent.context.span_id


async def test_every_redirect_is_a_span_of_its_own_with_its_own_context(server: Server) -> None:
    telemetry = Telemetry()
    async with (
        wherry.ClientSession(trace_configs=[telemetry.config]) as session,
        session.post(server.url("/go/go/end")) as response,
    ):
        assert response.status == 200
    assert [
        (
            s.name,
            s.attributes["http.response.status_code"],
            s.attributes.get("http.request.resend_count"),
        )  # type: ignore[index,union-attr]
        for s in telemetry.spans
    ] == [("POST", 303, None), ("GET", 303, 1), ("GET", 200, 2)]
    assert [URL(str((s.attributes or {})["url.full"])).path for s in telemetry.spans] == [
        "/go/go/end",
        "/go/end",
        "/end",
    ]
    sent = [traceparent(head).split("-")[2] for head in server.heads]
    assert sent == [f"{s.context.span_id:016x}" for s in telemetry.spans if s.context is not None]
    assert sum(point.count for point in telemetry.points()) == 3


async def test_a_client_error_is_an_error_by_its_status(server: Server) -> None:
    telemetry = Telemetry()
    async with wherry.ClientSession(trace_configs=[telemetry.config]) as session:
        async with session.get(server.url("/missing")):
            pass
        with pytest.raises(wherry.ClientResponseError):
            await session.get(server.url("/missing"), raise_for_status=True)
        async with session.get(server.url("/unchanged")):
            pass
    *missing, unchanged = telemetry.spans
    for span in missing:
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == "404"
        assert (span.attributes or {})["http.response.status_code"] == 404
    assert unchanged.status.status_code is StatusCode.UNSET
    assert [dict(p.attributes).get("error.type") for p in telemetry.points()].count("404") >= 1


async def test_a_failure_is_an_error_by_its_class_without_its_message(server: Server) -> None:
    telemetry = Telemetry()
    async with wherry.ClientSession(trace_configs=[telemetry.config]) as session:
        with pytest.raises(wherry.ServerDisconnectedError):
            await session.post(server.url("/break"))
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            with pytest.raises(wherry.ClientConnectorError):
                await session.get(f"http://user:secret@127.0.0.1:{bound.getsockname()[1]}/")
    broken, refused = telemetry.spans
    assert (broken.attributes or {})["error.type"] == "wherry.errors.ServerDisconnectedError"
    assert (refused.attributes or {})["error.type"] == "wherry.errors.ClientConnectorError"
    assert broken.status.description == "ServerDisconnectedError"
    assert "secret" not in broken.to_json() + refused.to_json()


@pytest.mark.parametrize(
    ("path", "kind", "count"),
    [("/loop", "TooManyRedirects", 2), ("/nowhere", "NonHttpUrlRedirectClientError", 1)],
)
async def test_a_redirect_that_is_not_followed_is_an_error_of_its_response(
    server: Server, path: str, kind: str, count: int
) -> None:
    telemetry = Telemetry()
    async with wherry.ClientSession(trace_configs=[telemetry.config]) as session:
        with pytest.raises(wherry.ClientError):
            await session.get(server.url(path), max_redirects=2)
    assert len(server.heads) == len(telemetry.spans) == count
    last = telemetry.spans[-1]
    assert (last.attributes or {})["error.type"] == f"wherry.errors.{kind}"
    assert (last.attributes or {})["http.response.status_code"] == 302


async def test_a_second_try_is_a_span_of_its_own(server: Server) -> None:
    telemetry = Telemetry()
    async with wherry.ClientSession(trace_configs=[telemetry.config]) as session:
        async with session.get(server.url()):
            pass
        with pytest.raises(wherry.ServerDisconnectedError):
            await session.get(server.url("/break"))
    _, first, second = telemetry.spans
    assert (first.attributes or {})["error.type"] == "wherry.errors.ServerDisconnectedError"
    assert (second.attributes or {})["http.request.resend_count"] == 1


async def test_every_try_of_a_retry_is_a_span_with_its_context(server: Server) -> None:
    telemetry = Telemetry()
    retry = wherry.RetryMiddleware(attempts=2, backoff=0, statuses=[404])
    async with (
        wherry.ClientSession(trace_configs=[telemetry.config], middlewares=[retry]) as session,
        session.get(server.url("/missing")),
    ):
        pass
    assert [(s.attributes or {})["http.response.status_code"] for s in telemetry.spans] == [
        404,
        404,
    ]
    assert [(s.attributes or {}).get("http.request.resend_count") for s in telemetry.spans] == [
        None,
        1,
    ]
    sent = [traceparent(head).split("-")[2] for head in server.heads]
    assert sent == [f"{s.context.span_id:016x}" for s in telemetry.spans if s.context is not None]


async def test_a_method_that_nobody_knows_is_other(server: Server) -> None:
    telemetry = Telemetry()
    async with (
        wherry.ClientSession(trace_configs=[telemetry.config]) as session,
        session.request("BREW", server.url()),
    ):
        pass
    (span,) = telemetry.spans
    assert span.name == "HTTP"
    assert (span.attributes or {})["http.request.method"] == "_OTHER"
    assert (span.attributes or {})["http.request.method_original"] == "BREW"


async def test_hooks_and_a_filter_of_the_programs_own(server: Server) -> None:
    calls: list[str] = []

    def asked(span: Any, params: wherry.TraceRequestStartParams) -> None:
        span.set_attribute("asked", params.url.path)

    def answered(span: Any, params: Any) -> None:
        calls.append(type(params).__name__)

    telemetry = Telemetry(
        url_filter=lambda url: url.path, request_hook=asked, response_hook=answered
    )
    async with wherry.ClientSession(trace_configs=[telemetry.config]) as session:
        async with session.get(server.url("/x")):
            pass
        with pytest.raises(wherry.ServerDisconnectedError):
            await session.post(server.url("/break"))
    assert (telemetry.spans[0].attributes or {})["url.full"] == "/x"
    assert (telemetry.spans[0].attributes or {})["asked"] == "/x"
    assert calls == ["TraceRequestEndParams", "TraceRequestExceptionParams"]


async def test_suppressed_requests_leave_nothing(server: Server) -> None:
    telemetry = Telemetry()
    token = otel_context.attach(
        otel_context.set_value(otel_context._SUPPRESS_INSTRUMENTATION_KEY, True)
    )
    try:
        async with (
            wherry.ClientSession(trace_configs=[telemetry.config]) as session,
            session.get(server.url("/go/end")),
        ):
            pass
    finally:
        otel_context.detach(token)
    assert telemetry.spans == []
    assert "traceparent" not in server.heads[0]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://example.com/a?b=c", "http://example.com/a?b=c"),
        ("http://user@example.com/", "http://REDACTED@example.com/"),
        ("http://user:pass@example.com/#x", "http://REDACTED:REDACTED@example.com/"),
        ("http://example.com/?sig=abc&x=1", "http://example.com/?sig=REDACTED&x=1"),
        (
            "http://example.com/?AWSAccessKeyId=a&Signature=b",
            "http://example.com/?AWSAccessKeyId=REDACTED&Signature=REDACTED",
        ),
    ],
)
def test_credentials_are_redacted(url: str, expected: str) -> None:
    assert redacted_url(URL(url)) == expected
