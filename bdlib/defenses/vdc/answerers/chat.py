"""One request to an OpenAI-compatible chat endpoint, tried again where that may help."""

import http.client
import json
import os
import re
import threading
import time
import urllib.error
import urllib.request
from email.message import Message
from typing import Any

from bdlib.checks import ParameterError
from bdlib.defenses.vdc.answerers.address import LOCAL, is_plain, scheme_and_host
from bdlib.defenses.vdc.answerers.protocol import AnswererError
from bdlib.words import has_words, shown

MAX_TOKENS = 64  # of an answer
LONGEST_REPLY = 2**20  # bytes
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key and the image elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


class _TryAgain(Exception):
    """The request failed in a way that may pass; with the seconds that the server asks to wait, if it does."""

    def __init__(self, reason: str, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Chat:
    """The endpoint `url`/chat/completions and the model `model`. The key is in the environment variable `key_variable`.

    Raises ParameterError for an address that is none, for one that would send the key unencrypted elsewhere, and for a
    key that cannot be sent. No message holds the key. To this machine no proxy is used.
    """

    def __init__(self, url: str, model: str, key_variable: str, *, timeout: float, retries: int, longest_wait: float):
        scheme, host = scheme_and_host(url)
        if not VARIABLE.fullmatch(key_variable):
            raise ParameterError("key_variable: must be the name of an environment variable, not the key itself")
        if not has_words(model):
            raise ParameterError(f"model={shown(model)}: must be the name of a model at the endpoint")
        self.url, self.model, self.key_variable = url.rstrip("/"), model, key_variable
        self.timeout, self.retries, self.longest_wait = timeout, retries, longest_wait
        self.may_have_key = scheme == "https" or host in LOCAL
        direct = [urllib.request.ProxyHandler({})] if host in LOCAL else []
        self.opener = urllib.request.build_opener(_NoRedirect, *direct)
        self._key()

    def complete(self, content: list[dict[str, Any]], stopped: threading.Event | None = None) -> str:
        """The answer to one message of the user at temperature 0. Raises AnswererError, in one line, without the key.

        Time-outs, 429 (after the seconds that it names), 5xx and malformed answers are tried again. `stopped` ends
        the waiting.
        """
        stopped, wait = stopped or threading.Event(), 0.5
        for attempt in range(self.retries + 1):
            try:
                return self._once(content)
            except _TryAgain as error:
                if attempt == self.retries:
                    tries = f"{attempt + 1} tries" if attempt else "one try"
                    raise AnswererError(f"{self.url}: {error}, after {tries}; answers so far are kept") from None
                if stopped.wait(min(error.seconds if error.seconds is not None else wait, self.longest_wait)):
                    raise AnswererError(f"{self.url}: stopped, because another request failed") from None
                wait *= 2
        raise AssertionError("unreachable")

    def _once(self, content: list[dict[str, Any]]) -> str:
        asked = {"model": self.model, "messages": [{"role": "user", "content": content}], "temperature": 0,
                 "max_tokens": MAX_TOKENS}  # fmt: skip
        headers = {"Content-Type": "application/json"}
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.url}/chat/completions", json.dumps(asked).encode(), headers)
        latest = time.monotonic() + self.timeout
        try:
            with self.opener.open(request, timeout=self.timeout) as reply:
                return _text_in(_body(reply, latest))
        except urllib.error.HTTPError as error:
            with error:
                self._refuse(error.code, error.headers)
            raise
        except TimeoutError:
            raise _TryAgain(f"no answer within {self.timeout:g} seconds") from None
        except urllib.error.URLError as error:
            reason = "no answer in time" if isinstance(error.reason, TimeoutError) else f"not reached ({error.reason})"
            raise _TryAgain(reason) from None
        except (OSError, http.client.HTTPException) as error:
            raise _TryAgain(f"the connection broke ({type(error).__name__})") from None

    def _key(self) -> str | None:
        """The key, where there is one. Raises ParameterError, without it, where it cannot or must not be sent."""
        key = os.environ.get(self.key_variable)
        if key and not self.may_have_key:
            raise ParameterError(f"url={shown(self.url)}: must begin with https, because {self.key_variable} is set")
        if key and not is_plain(key):
            raise ParameterError(f"{self.key_variable}: the key in it must be ASCII without blanks and line breaks")
        return key or None

    def _refuse(self, code: int, headers: Message) -> None:
        """Raise what an HTTP error means: try again, or AnswererError at once."""
        if code == 429 or code >= 500:
            raise _TryAgain(f"HTTP {code}", _seconds(headers.get("Retry-After")))
        if code in (401, 403):
            state = "refused" if os.environ.get(self.key_variable) else "missing: it is read from there"
            raise AnswererError(f"{self.url}: HTTP {code}: the key in {self.key_variable} is {state}") from None
        raise AnswererError(f"{self.url}: HTTP {code} for the model {shown(self.model)}") from None


def _body(reply: Any, latest: float) -> bytes:
    """All of a reply, unless it is very long or goes on beyond the time `latest`."""
    content = b""
    while piece := reply.read1(65536):
        content += piece
        if len(content) > LONGEST_REPLY:
            raise _TryAgain(f"an answer of over {LONGEST_REPLY} bytes")
        if time.monotonic() > latest:
            raise TimeoutError
    if reply.length:
        raise http.client.IncompleteRead(b"")
    return content


def _text_in(reply: bytes) -> str:
    """The answer in a reply's body."""
    try:
        text = json.loads(reply)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        text = None
    if not isinstance(text, str) or not has_words(text):
        raise _TryAgain("a malformed answer")
    return text


def _seconds(text: str | None) -> float | None:
    """What a header Retry-After says, where it says seconds."""
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None
