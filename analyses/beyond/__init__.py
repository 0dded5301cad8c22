"""The parts of the page beyond the paper: the same measurements on other grammars, depths and vocabularies."""
