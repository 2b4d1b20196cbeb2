"""Proxies: which a request goes through, and the handshakes that open a way through them."""
