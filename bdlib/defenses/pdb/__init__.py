"""Proactive defensive backdoor (PDB). Wei, Zha & Wu, NeurIPS 2024, arXiv:2405.16112."""

from bdlib.defenses.pdb.method import defensive_loss, defensive_set, pdb

__all__ = ["defensive_loss", "defensive_set", "pdb"]
