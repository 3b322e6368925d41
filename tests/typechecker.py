"""The runtime type checker of the tests: shapes and types of every bdlib call, a whole number passing as a float."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
