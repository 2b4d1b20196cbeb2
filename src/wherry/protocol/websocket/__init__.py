"""WebSocket on the wire (RFC 6455, RFC 7692): frames and rules, no I/O."""
