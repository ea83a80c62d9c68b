from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from local_hub import serving

from zoo import net


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ZOO_OFFLINE", "HF_HUB_OFFLINE", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(net, "_answers", {})


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    hits: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            hits.append(self.path)
            self.send_response({"/missing": 404, "/broken": 502}.get(self.path, 200))
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    with serving(Handler) as address:
        yield address, hits


def test_a_server_that_answers_is_reachable_and_asked_once(server: tuple[str, list[str]]) -> None:
    url, hits = server
    assert net.reachable(url)
    assert net.reachable(url)
    assert len(hits) == 1


def test_an_error_page_is_an_answer_but_a_bad_gateway_is_not(server: tuple[str, list[str]]) -> None:
    url, _ = server
    assert net.reachable(url + "/missing")
    assert not net.reachable(url + "/broken")


def test_a_closed_port_and_a_name_that_does_not_exist_are_not_reachable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert not net.reachable(f"http://127.0.0.1:{port}")
    assert not net.reachable("no scheme")
    assert not net.reachable("http://a b:1/")


def test_a_server_that_speaks_no_http_is_not_reachable() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 ready for mail\r\n")
                connection.recv(1000)

        threading.Thread(target=answer, daemon=True).start()
        assert not net.reachable(f"http://127.0.0.1:{server.getsockname()[1]}")


def test_a_silent_server_costs_no_more_than_the_timeout() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        assert not net.reachable(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.3)
        assert time.monotonic() - started < 2.0


def test_a_name_lookup_that_hangs_costs_no_more_than_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*args: object, **options: object) -> None:
        time.sleep(2)
        raise socket.gaierror("no answer")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    started = time.monotonic()
    assert not net.reachable("http://hub.invalid", timeout=0.3)
    assert time.monotonic() - started < 1.5


@pytest.mark.parametrize("name", ["ZOO_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_opens_no_socket(server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    url, hits = server
    monkeypatch.setenv(name, "1")
    assert not net.reachable(url)
    assert hits == []


def test_the_endpoint_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example/")
    assert net.hub_endpoint() == "http://mirror.example"
