"""The os module with some functions replaced."""

import os


class TamperedOs:
    """The os module with some functions replaced, for mechbp.storage alone."""

    def __init__(self, **replaced):
        self.replaced = replaced

    def __getattr__(self, name):
        return self.replaced.get(name, getattr(os, name))
