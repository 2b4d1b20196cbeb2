"""Payloads: what a request's body can be made of, and how it is written."""
