"""What decides the claims of this page: criteria.toml."""

from __future__ import annotations

from pathlib import Path

from mechbp.report.criteria import Criteria

CRITERIA = Criteria.read(Path(__file__).with_name("criteria.toml"))
