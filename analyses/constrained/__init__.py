"""Parts of the page about constrained belief updates: what attention can compute of a belief, predicted and measured."""
