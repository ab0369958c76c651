"""Read a file from the first of several places that has it."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Sequence

from behunt.errors import InstallError

_LIMIT = 64 << 20  # bytes; release files and manifests are small


def first_of(urls: Sequence[str], what: str, timeout: float = 30.0) -> tuple[str, bytes]:
    """(URL, content) of the first that answers. Raises InstallError listing every answer."""
    answers = []
    for url in urls:
        try:
            with urllib.request.urlopen(url, timeout=timeout) as response:  # noqa: S310 - catalogue
                return url, response.read(_LIMIT)
        except urllib.error.HTTPError as error:
            answers.append(f"{url} answered {error.code} {error.reason}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            answers.append(f"{url} could not be read ({reason})")
    raise InstallError(
        f"no source has {what}: {'; '.join(answers) or 'the catalogue names none'}",
        "check the network and the mirror, or name another with --mirror",
    )
