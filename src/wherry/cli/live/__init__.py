"""Conversations that go on: WebSockets and server-sent events."""
