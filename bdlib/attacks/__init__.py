"""Attacks that steer training. Static triggers are in bdlib.triggers."""
