"""Multipart bodies, read and written (RFC 2046, RFC 7578)."""
