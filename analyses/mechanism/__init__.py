"""The three parts of the page `tree_mechanism`: what can be read, what flows, what attention does."""
