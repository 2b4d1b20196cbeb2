"""A REST client: JSON in, typed objects out, problems as exceptions.

It stands on the public names of wherry alone and adds no way of its own to make a request.
"""

from wherry.rest.client import RestClient
from wherry.rest.config import RestConfig
from wherry.rest.errors import RestError
from wherry.rest.models import decode, encode

__all__ = ("RestClient", "RestConfig", "RestError", "decode", "encode")
