"""Read a file from the first of several places that has it."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Sequence

from behunt.errors import InstallError

_LIMIT = 64 << 20  # bytes; release files and manifests are small


def first_of(
    urls: Sequence[str], what: str, *, proxy: str = "", timeout: float = 30.0
) -> tuple[str, bytes]:
    """(URL, content) of the first that answers. Raises InstallError listing every answer.

    `proxy` is for http, instead of what the environment names.
    """
    proxies = urllib.request.getproxies() | ({"http": proxy} if proxy else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    answers = []
    for url in urls:
        try:
            with opener.open(url, timeout=timeout) as response:
                return url, response.read(_LIMIT)
        except urllib.error.HTTPError as error:
            error.close()
            answers.append(f"{url} answered {error.code} {error.reason}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            answers.append(f"{url} could not be read ({reason})")
    raise InstallError(
        f"no source has {what}: {'; '.join(answers) or 'the catalogue names none'}",
        "check the network and the mirror, or name another with --mirror",
    )
