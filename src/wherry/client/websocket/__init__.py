"""WebSocket as a program uses it: the handshake, the channel, messages and heartbeats."""
