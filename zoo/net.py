"""One question asked before anything is fetched: does a server answer at all?"""

from __future__ import annotations

import http.client
import os
import ssl
import threading
import urllib.error
import urllib.request

from zoo.paths import offline

_answers: dict[str, bool] = {}


def hub_endpoint() -> str:
    """The hub's address: ``$HF_ENDPOINT``, else the one huggingface_hub was built with."""
    if own := os.environ.get("HF_ENDPOINT"):
        return own.rstrip("/")
    from huggingface_hub import constants

    return constants.ENDPOINT


def reachable(url: str, timeout: float = 3.0) -> bool:
    """True if the server of ``url`` answers an HTTP request within ``timeout`` seconds, whatever its answer.

    Proxies of the environment are used as any client would. The first answer for a URL holds for the whole process, so
    that an unreachable server costs its timeout once. With ``ZOO_OFFLINE`` or ``HF_HUB_OFFLINE`` no socket is opened.
    """
    if offline():
        return False
    if url not in _answers:
        _answers[url] = _answers_within(url, timeout)
    return _answers[url]


def _answers_within(url: str, timeout: float) -> bool:
    answered: list[bool] = []
    # A name lookup ignores socket timeouts and can block for many seconds, so the clock runs outside it.
    probe = threading.Thread(target=lambda: answered.append(_head(url, timeout)), daemon=True)
    probe.start()
    probe.join(timeout)
    return bool(answered) and answered[0]


def _head(url: str, timeout: float) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=timeout).close()
    except urllib.error.HTTPError as answer:
        return (
            answer.code < 500 and answer.code != 407
        )  # 5xx and 407 are what proxies say for a server they cannot reach
    except urllib.error.URLError as error:
        # The server is there; the client that fetches reads other certificate settings and reports its own error.
        return isinstance(error.reason, ssl.SSLCertVerificationError)
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return True
