"""What programs reach for beside the public names, in drop-in mode: submodules, private names,
classes of their own.
"""

from __future__ import annotations

import pytest
from tests.integrations.dropin import run_program


def test_names_of_submodules_are_there_and_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://a:b@127.0.0.1:9/")
    assert run_program("names.py") == "all there"


def test_classes_of_the_programs_own_are_used() -> None:
    first, second = run_program("subclasses.py").splitlines()
    assert first == "['GET', 'POST', 'GET', 'GET', 'GET'] (418,) AHOY Request GET 2"
    assert second == "GET POST PUT PATCH DELETE OPTIONS HEAD GET"


def test_what_programs_override_of_connectors_requests_and_answers_is_called() -> None:
    assert run_program("overrides.py").splitlines() == [
        "127.0.0.2 is inside ['/1', '/2', '/']",
        "/rewritten 127.0.0.1 200 127.0.0.1 1",
        "True False",
        "/ boat.test",
        "100 0 1 {}",
        "True",
    ]


def test_a_server_and_a_client_in_one_program_know_each_others_objects() -> None:
    took = "taken [True, ('a', '1'), ('b', '2')]"
    frames = "--b\r\nContent-Type: image/jpeg\r\nContent-Length: 1\r\n\r\n0\r\n"
    assert run_program("server_and_client.py").splitlines() == [
        took,
        took,
        "['ahoy']",
        str(len(frames) * 2),
        "304",
        "True taken",
    ]
