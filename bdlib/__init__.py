"""Backdoor attacks on image classifiers, the defences against them, and their honest evaluation."""

import os

# Two trainings side by side on two cores otherwise spend their time spinning at each other's barriers. Measured for an
# epoch of 3,600 images: 4.9 s each with this, 7.0 s with libgomp's default, 30 s at a hundred thousand spins; alone
# between 2.0 and 2.5 s with any. It must stand before torch loads.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
