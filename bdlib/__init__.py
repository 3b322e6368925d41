"""Backdoor attacks on image classifiers, the defences against them, and their honest evaluation."""

import os

# Two trainings side by side on two cores otherwise spend their time spinning at each other's barriers: measured, five
# times slower with libgomp's own default than with this, which alone costs nothing. It must stand before torch loads.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
