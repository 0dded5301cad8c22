"""From documents (plain JSON) to self-contained pages: document -> figures -> page, index, snapshot."""
