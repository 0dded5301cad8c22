"""The checker behind the run-time annotation checks, in a module of its own so that the import hook can name it."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as for static checkers
