"""What to say when `RestClient` was called wrongly: other clients' words, and ours for them.

It is loaded when a call has failed already.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ("NOT_QUERIES", "not_a_query", "unknown_option")

# What a verb would put into the URL, a secret too, and what stands for it.
NOT_QUERIES = {
    "allow_redirects": "api.session.get(url, allow_redirects=...)",
    "auth": "RestClient(auth=...)",
    "cookies": 'headers={"Cookie": ...}',
    "data": "body=, which is sent as JSON",
    "json": "body=",
    "params": "query_param=",
    "proxy": "RestClient(proxy=...)",
    "ssl": "RestClient(verify_ssl=...)",
    "timeout": "RestClient(timeout=...)",
}
# What stands for options that it has not.
_OPTIONS = {
    "api_key": "auth=wherry.ApiKey(...)",
    "connector": "tcp_connections=, verify_ssl= and proxy=, or make a wherry.ClientSession",
    "cookies": 'headers={"Cookie": ...}, or make a wherry.ClientSession',
    "limit": "tcp_connections=",
    "proxies": "proxy=",
    "rate_limit": "requests_per_second=",
    "retry": "retries=",
    "ssl": "verify_ssl=",
    "token": "auth=wherry.BearerToken(...)",
    "url": "base_url=",
    "verify": "verify_ssl=",
}


def not_a_query(name: str) -> str:
    """What to say of a keyword of a verb that is meant for something else than the query."""
    return (
        f"a request of RestClient has no argument {name!r}: say {NOT_QUERIES[name]}; "
        f"a query parameter of this name is query_param={{{name!r}: ...}}"
    )


def unknown_option(given: Iterable[str], known: Iterable[str]) -> str:
    """What to say of the first option that `RestClient` has not.

    Args:
        given: The options that it got.
        known: Those that it takes.
    """
    known = sorted(known)
    name = next(each for each in given if each not in known)
    if ours := _OPTIONS.get(name):
        hint = f"say {ours}"
    elif near := get_close_matches(name, known, 1):
        hint = f"did you mean {near[0]}=?"
    else:
        hint = f"it takes {', '.join(known)}"
    return f"RestClient has no argument {name!r}: {hint}"
