"""Wheels carry the pages inside the package; an editable installation finds them in the source tree."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PagesInside(BuildHookInterface):
    """Puts analyses/ at mechbp/analyses, where `mechbp.study.analyses_root` looks where there is no source tree."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folder to a wheel that is to be installed, not to one that only points here."""
        if version == "standard":
            build_data["force_include"]["analyses"] = "mechbp/analyses"
