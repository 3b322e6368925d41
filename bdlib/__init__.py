"""Backdoor attacks on image classifiers, the defences against them, and their honest evaluation."""
