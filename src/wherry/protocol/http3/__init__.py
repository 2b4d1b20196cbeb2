"""HTTP/3: HTTP over QUIC (RFC 9114)."""
