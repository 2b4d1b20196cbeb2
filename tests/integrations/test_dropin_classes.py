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


def test_bodies_and_credentials_of_before_drop_in_mode_are_sent() -> None:
    form = 'form-data; name="f"; filename="x"'
    assert run_program("made_before.py", by_itself=True).splitlines() == [
        "x/y 3 abc",
        "x/y None abc",
        "application/octet-stream 3 abc",
        'application/json 8 {"a": 1}',
        "application/octet-stream None abc",
        "application/x-www-form-urlencoded 3 a=b",
        f"multipart/form-data ['a=b', 'f=abc {form}']",
        "multipart/mixed ['None=abc', 'None=x']",
        f"multipart/form-data ['f=abc {form}']",
        "multipart/mixed ['None=abc']",
        "twice abc",
        "closed ['Own', 'Sizeless', 'Own', 'Own', 'Own']",
        "Basic dTpw Basic dTpw Basic dTpw",
    ]
