"""The commands of `mechbp`, one function each; `mechbp.cli` gathers them."""
