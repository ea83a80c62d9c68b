"""Servers on this machine, and the way to them; a hub: files by path, with the headers a hub sends."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

OFFLINE = ("ZOO_OFFLINE", "HF_HUB_OFFLINE")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


class Server(http.server.BaseHTTPRequestHandler):
    """Serves ``files`` by path and keeps what was ``asked``."""

    files: dict[str, bytes]
    asked: list[str]

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def answer(self, body: bool) -> None:
        self.asked.append(f"{self.command} {self.path}")
        content = self.files.get(self.path)
        self.send_response(404 if content is None else 200)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        content = content or b""
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


def go_online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets may be opened, straight to where they lead."""
    for name in OFFLINE:
        monkeypatch.setenv(name, "0")
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server that answers by ``handler``."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


@contextmanager
def local_hub(
    monkeypatch: pytest.MonkeyPatch, folder: Path, files: dict[str, bytes]
) -> Iterator[tuple[str, type[Server]]]:
    """(address, the handler with the files) of a hub that is the only one this process knows; its cache is in
    ``folder``."""
    from huggingface_hub import constants

    go_online(monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    handler = type("Handler", (Server,), {"files": files, "asked": []})
    with serving(handler) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield address, handler
