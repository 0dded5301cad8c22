"""The parts of the page on training: the ladder of oracles over seeds, and one run watched step by step."""
