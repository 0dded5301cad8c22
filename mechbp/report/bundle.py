"""plotly.js as one file beside many pages, in place of a copy in each: known by its digest, checked before it runs.

A page names the file and its SHA-384; over HTTP the browser refuses any other content. From disk it can check nothing, and takes
the file that lies beside the page, as it takes the page itself.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache

from plotly.offline import get_plotlyjs


@dataclass(frozen=True)
class Bundle:
    """The script that bundled pages share."""

    content: bytes

    @property
    def name(self) -> str:
        """The file's name, which changes with its content."""
        return f"plotly-{hashlib.sha256(self.content).hexdigest()[:16]}.js"

    @property
    def integrity(self) -> str:
        """What a browser holds the file against (Subresource Integrity)."""
        return f"sha384-{base64.b64encode(hashlib.sha384(self.content).digest()).decode()}"


@cache
def plotly_bundle() -> Bundle:
    """Return the installed plotly.js as a bundle."""
    return Bundle(get_plotlyjs().strip().encode())
