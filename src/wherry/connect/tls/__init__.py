"""TLS: whom to trust, sessions, and a transport that speaks it over any other."""
