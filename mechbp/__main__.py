"""`python -m mechbp` is `mechbp`."""

from mechbp.cli import main

if __name__ == "__main__":
    main()
