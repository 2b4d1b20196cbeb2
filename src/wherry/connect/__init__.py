"""From a route to a live connection: names, sockets, TLS, proxies, and the pool."""
