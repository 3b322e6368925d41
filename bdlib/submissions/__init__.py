"""Files of somebody else, put through the book's own evaluation: a defense, an attack or a network in one file.

`bdlib evaluate my_defense.py:purify --on cifar10` runs the function in a process of its own (`child`), which is handed
what a defender has and nothing else. This process keeps triggers, test labels and scores. `new` writes the files of a
contribution from templates.
"""
