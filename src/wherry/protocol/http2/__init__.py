"""HTTP/2 on the wire (RFC 9113) and HPACK (RFC 7541)."""
