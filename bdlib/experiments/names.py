"""What readers call the attacks and defenses whose keys stand in parameters and records."""

ATTACKS = {
    "none": "no attack", "badnets": "BadNets", "blended": "Blended", "sig": "SIG", "low_frequency": "low-frequency",
    "label_consistent": "label-consistent", "trojan": "TrojanNN", "ssba": "SSBA", "wanet": "WaNet",
    "input_aware": "Input-aware", "bpp": "BPP",
}  # fmt: skip
METHODS = {
    "none": "victim", "fine_tune": "fine-tuning", "fine_prune": "fine-pruning", "neural_cleanse": "Neural Cleanse",
    "spectral_signatures": "spectral signatures", "activation_clustering": "activation clustering",
    "mp_fair": "mean parity", "workshop": "workshop", "survey": "combining stages", "reactivation": "re-activation",
    "mean_parity": "mean parity", "kernel_ridge": "kernel ridge", "constant": "constant",
}  # fmt: skip


def attack_name(key: object) -> str:
    """What the book calls an attack, as inside a sentence: `badnets` is BadNets, `low_frequency` is low-frequency.

    An attack of one's own is called by its key, with hyphens.
    """
    return ATTACKS.get(str(key), str(key).replace("_", "-"))


def attack_title(key: str) -> str:
    """An attack's name as the head of a column or row of attacks alone: `low_frequency` is Low-frequency."""
    name = attack_name(key)
    return name[:1].upper() + name[1:]


def method_name(key: str) -> str:
    """What the book calls a defense: `nad` is NAD, `ft_sam` is FT-SAM; `none` is the undefended victim."""
    return METHODS.get(key, key.upper().replace("_", "-"))


def group_name(parameter: str, value: object) -> str:
    """A group of runs as text: the name of an attack or repair, or a number after the parameter that it is of.

    Example: `group_name("gamma", 0.5)` and `group_name("gamma", "0.5")` are "gamma 0.5", `group_name("attack", "sig")`
    is "SIG", and `group_name("poison_rate", 0.002)` is "0.2 % poisoned".
    """
    if not isinstance(value, bool) and _is_number(value):
        if parameter == "poison_rate":
            return f"{100 * float(str(value)):.4g} % poisoned"
        return f"{parameter.replace('_', ' ')} {value if isinstance(value, str) else f'{value:g}'}"
    if parameter == "attack":
        return attack_name(value)
    return method_name(str(value)) if parameter == "repaired_by" else str(value).replace("_", "-")


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True
