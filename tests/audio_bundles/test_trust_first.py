"""Weights of which nobody publishes a sha256: the first copy is trusted, said, and held against later ones."""

from __future__ import annotations

import hashlib
import http.server
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from audio_toys import tiny_wav2vec
from local_hub import go_online, serving

from zoo.weights.read import read_state
from zoo.weights.sources import cache_slot, find
from zoo_registry.errors import PluginError, WeightsError
from zoo_registry.specs import WeightsSpec
from zoo_registry.validation import InvalidRecord, check_plugin

ID = "audio/tiny@torchaudio"


class Server(http.server.BaseHTTPRequestHandler):
    """Serves ``files``; ``promised`` is the length it says they have, ``moved`` where else they are."""

    files: dict[str, bytes]
    promised: int | None
    moved: dict[str, str]

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def answer(self, body: bool) -> None:
        if place := self.moved.get(self.path):
            self.send_response(302)
            self.send_header("Location", place)
            self.end_headers()
            return
        content = self.files.get(self.path)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(self.promised or len(content or b"")))
        self.end_headers()
        if body:
            self.wfile.write(content or b"")

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Any]]:
    go_online(monkeypatch)
    handler: Any = type("Handler", (Server,), {"files": {}, "promised": None, "moved": {}})
    with serving(handler) as address:
        yield address, handler


def record(address: str, **fields: Any) -> WeightsSpec:
    """As the bundles', but plain http: only a registry refuses that."""
    return WeightsSpec(model="tiny", tag="torchaudio", sources=(f"url:{address}/tiny.pth",), **fields)


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    torch.manual_seed(0)
    torch.save(tiny_wav2vec().module.state_dict(), tmp_path / "tiny.pth")
    return (tmp_path / "tiny.pth").read_bytes()


def test_the_first_copy_is_kept_and_said(server: tuple[str, Any], content: bytes, capsys: Any) -> None:
    address, handler = server
    handler.files["/tiny.pth"] = content
    weights = record(address, trust_first=True)
    found = find(ID, weights)
    digest = hashlib.sha256(content).hexdigest()
    assert found is not None
    assert found.sha256 == digest
    assert digest in capsys.readouterr().err
    kept = cache_slot(ID) / ".tiny.pth.sha256"
    assert kept.read_text() == f"{digest}\n"
    assert sorted(path.name for path in cache_slot(ID).iterdir()) == [".tiny.pth.sha256", "tiny.pth"]
    assert read_state(found.path)
    again = find(ID, weights)
    assert again is not None
    assert again.path == found.path
    assert digest not in capsys.readouterr().err


def test_another_file_at_the_address_is_refused(server: tuple[str, Any], content: bytes) -> None:
    address, handler = server
    handler.files["/tiny.pth"] = content
    weights = record(address, trust_first=True)
    first = find(ID, weights)
    assert first is not None
    first.path.unlink()
    handler.files["/tiny.pth"] = content + b" "
    with pytest.raises(WeightsError, match=f"expected {first.sha256}") as error:
        find(ID, weights)
    assert not first.path.exists()
    kept = cache_slot(ID) / ".tiny.pth.sha256"
    assert str(kept) in error.value.remedy
    kept.unlink()  # as the error says
    assert find(ID, weights) is not None
    handler.files["/tiny.pth"] = content
    first.path.unlink()
    with pytest.raises(WeightsError, match="expected"):
        find(ID, weights)


def test_a_file_changed_in_the_cache_is_refused(server: tuple[str, Any], content: bytes) -> None:
    address, handler = server
    handler.files["/tiny.pth"] = content
    weights = record(address, trust_first=True)
    first = find(ID, weights)
    assert first is not None
    first.path.write_bytes(content[:-1] + b"?")
    with pytest.raises(WeightsError, match=f"expected {first.sha256}"):
        find(ID, weights)
    again = find(ID, weights)
    assert again is not None
    assert again.sha256 == first.sha256


def test_a_file_that_the_user_copied_is_used(content: bytes) -> None:
    slot = cache_slot(ID)
    slot.mkdir(parents=True)
    (slot / "tiny.pth").write_bytes(content)
    found = find(ID, record("http://127.0.0.1:1", trust_first=True))
    assert found is not None
    assert found.path == slot / "tiny.pth"


def test_half_a_file_is_not_trusted(server: tuple[str, Any], content: bytes) -> None:
    address, handler = server
    handler.files["/tiny.pth"] = content[:5000]
    handler.promised = len(content)
    with pytest.raises(WeightsError, match="broke off after 5,000 of"):
        find(ID, record(address, trust_first=True))
    assert list(cache_slot(ID).iterdir()) == []


def test_a_change_of_protocol_is_not_followed(server: tuple[str, Any], tmp_path: Path) -> None:
    address, handler = server
    handler.moved["/tiny.pth"] = "ftp://127.0.0.1:1/tiny.pth"
    with pytest.raises(WeightsError, match="not on this machine"):
        find(ID, record(address, trust_first=True))
    assert not list(cache_slot(ID).glob("*"))


def test_a_published_hash_comes_first(server: tuple[str, Any], content: bytes) -> None:
    address, handler = server
    handler.files["/tiny.pth"] = content
    with pytest.raises(WeightsError, match="expected 12345678"):
        find(ID, record(address, trust_first=True, sha256="12345678"))
    assert find(ID, record(address, trust_first=True, sha256=hashlib.sha256(content).hexdigest())) is not None
    assert not (cache_slot(ID) / ".tiny.pth.sha256").exists()


def test_it_must_be_said_in_the_record() -> None:
    with pytest.raises(PluginError, match="without a sha256"):
        find(ID, record("http://127.0.0.1:1"))
    for wrong in (record("https://example.invalid"), record("http://example.invalid", trust_first=True)):
        with pytest.raises(InvalidRecord, match="needs https and a sha256, or trust_first"):
            check_plugin([wrong])
    with pytest.raises(InvalidRecord, match="a model the plugin has not"):  # all else is well
        check_plugin([record("https://example.invalid", trust_first=True)])
