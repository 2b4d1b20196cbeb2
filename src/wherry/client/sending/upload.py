"""The upload: a streamed body goes out beside the wait for the answer, and stops when the answer
makes it needless.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from wherry.body.payload.body_writer import BodyWriter
from wherry.body.payload.encoders import compression_of
from wherry.client.request import (
    ClientRequest,
    PreparedRequest,
    extensions_of,
    write_body,
)
from wherry.errors import ClientConnectionError, ClientOSError
from wherry.protocol.connection import Exchange
from wherry.protocol.heads import RequestHead

# How long a server may think about an Expect: 100-continue before the body is sent anyway (RFC 9110
# 10.1.1).
CONTINUE_SECONDS = 1.0


async def upload_body(prepared: PreparedRequest, exchange: Exchange, head: RequestHead) -> None:
    """Send a streamed body; a failure of the body itself ends the exchange, an early answer ends
    the upload.
    """
    request, traces = prepared.request, prepared.traces
    payload, extensions = request.payload, extensions_of(request)
    assert payload is not None
    tracker = extensions.upload_tracker
    attempt = 0 if tracker is None else tracker.attempts
    sent = False
    error: BaseException | None = None
    try:
        if head.expect_continue and not await exchange.wait_continue(CONTINUE_SECONDS):
            return
        writer = BodyWriter(
            exchange,
            content_length=head.content_length,
            compress=compression_of(request.compress),
            on_chunk_sent=None
            if traces is None
            else lambda chunk: traces.request_chunk_sent(request.method, request.url, chunk),
        )
        extensions.writer = writer
        if tracker is not None:
            tracker.begin_attempt(writer)
        await write_body(request, payload, writer, exchange)
        await writer.write_eof()
        sent = True
        extensions.sent = monotonic()
    except asyncio.CancelledError as exc:
        # Who stops an upload has ended its exchange before; if it goes on, the body has waited for
        # what was cancelled.
        if not exchange.state.ended:
            exchange.fail(error := _failure(request, exc))
            exchange.cancel()
        raise
    except (ClientConnectionError, ConnectionError) as exc:
        # The peer stopped taking the body: what it answered counts, if it did (RFC 9112 9.5).
        error = exc
        if not exchange.state.ended:
            await _late_answer(exchange, exc)
        if exchange.head is None and exchange.error is not None:
            error = exchange.error  # what the request raises
    except Exception as exc:
        exchange.fail(error := _failure(request, exc))
        exchange.cancel()
    finally:
        # The upload of a leg before this one may end late, when the tracker follows another.
        if tracker is not None and tracker.attempts == attempt:
            if sent:
                tracker.finish_attempt()
            else:
                tracker.fail_attempt(error)


def _failure(request: ClientRequest, exc: BaseException) -> BaseException:
    """What the request raises for a body that cannot be sent: a time limit as it is, all else with
    its cause.
    """
    if isinstance(exc, TimeoutError):
        return exc
    said = f"Failed to send bytes into the underlying connection to {request.url.origin()}: {exc!r}"
    failure = (
        ClientOSError(exc.errno, said) if isinstance(exc, OSError) else ClientConnectionError(said)
    )
    failure.__cause__ = exc
    return failure


async def _late_answer(exchange: Exchange, exc: BaseException) -> None:
    """A write failed before all of an answer was read: what lies in the socket's buffer may be the
    answer.
    """
    await asyncio.sleep(0)
    if exchange.state.ended:
        return
    transport = exchange.connection.transport
    # Where the connection is as it was, it is not the peer who failed, but where the body comes
    # from.
    if exchange.head is None or (transport is not None and not transport.is_closing()):
        failure = ClientOSError(
            getattr(exc, "errno", None), f"the connection was lost while the body was sent: {exc}"
        )
        failure.__cause__ = exc
        exchange.fail(failure)
        exchange.cancel()
