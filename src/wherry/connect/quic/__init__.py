"""QUIC's way to a server: trust, sockets, dialling."""
