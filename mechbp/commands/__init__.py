"""The commands of `mechbp`, one function each; mechbp/cli.py gathers them."""
