"""``wherry sse URL``: server-sent events, an event on a line."""

from __future__ import annotations

import json
from dataclasses import dataclass

import wherry
from wherry.cli import show
from wherry.cli.argument_values import RequestArguments


@dataclass(slots=True)
class Listening:
    """What is listened to.

    Args:
        wanted: The request.
        count: End after so many events; 0 for no limit.
        reconnects: Connect again when the stream ends.
        last_event_id: Go on behind this event.
        as_json: Each event is a line of JSON.
    """

    wanted: RequestArguments
    count: int = 0
    reconnects: bool = True
    last_event_id: str | None = None
    as_json: bool = False


async def run_events(listening: Listening) -> None:
    """Print events until there were enough, or the stream ends.

    Raises:
        ClientError: The stream cannot be had.
    """
    wanted = listening.wanted
    options = wanted.options
    if listening.last_event_id is not None:
        options["last_event_id"] = listening.last_event_id
    if not listening.reconnects:
        options["max_reconnects"] = 0
    seen = 0
    async with (
        wherry.ClientSession(connector=wanted.connector(), trust_env=True) as session,
        session.events(wanted.url, **options) as source,
    ):
        async for event in source:
            show.line(_told(event) if listening.as_json else event.data)
            seen += 1
            if seen == listening.count:
                return


def _told(event: wherry.ServerSentEvent) -> str:
    return json.dumps(
        {"event": event.event, "data": event.data, "id": event.id}, ensure_ascii=False
    )
