"""The address of a chat endpoint, checked before anything is sent there."""

import urllib.parse

from bdlib.checks import ParameterError
from bdlib.words import shown

LOCAL = ("localhost", "127.0.0.1", "::1")


def is_plain(text: str) -> bool:
    """Whether a text can stand in a request as it is: ASCII without blanks, line breaks and control characters.

    Example: `is_plain("sk-1")`
    """
    return text.isascii() and text.isprintable() and " " not in text


def scheme_and_host(url: str) -> tuple[str, str]:
    """The scheme and the host of an endpoint's address, the host in ASCII.

    Raises ParameterError for what is no address, and without showing it for one that may hold a secret.

    Example: `scheme_and_host("http://localhost:8000/v1")` is `("http", "localhost")`
    """
    if any(mark in url for mark in "@?#"):
        raise ParameterError("url: must have no user, password, query or fragment; a key belongs in the environment")
    try:
        parts = urllib.parse.urlsplit(url)
        host = (parts.hostname or "").encode("idna").decode()
        fits = parts.scheme in ("http", "https") and host and parts.port != 0 and is_plain(url)
    except ValueError:
        fits = False
    if fits and parts.path.rstrip("/").endswith("/chat/completions"):
        raise ParameterError(f"url={shown(url)}: must end before /chat/completions, which is added to it")
    if not fits:
        raise ParameterError(f"url={shown(url)}: must be an address such as http://localhost:8000/v1")
    return parts.scheme, host
