"""Bytes on the wire: HTTP/1.1, HTTP/2 and WebSocket behind one interface, `connection.py`."""
