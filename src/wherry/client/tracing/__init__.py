"""Tracing: the signals, their parameters, and where a request emits them."""
