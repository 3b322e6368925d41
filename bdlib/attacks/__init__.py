"""Attacks that do more than stamp images at random: they choose which, learn the trigger, or steer training.

Static triggers are in bdlib.triggers.
"""
