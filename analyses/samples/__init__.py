"""The parts of the page on training sets: accuracy against their size, and what pre-training spares."""
