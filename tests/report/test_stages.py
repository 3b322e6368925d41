"""What combinations of stages leave, beside their parts."""

import pandas as pd

from bdlib.report import stages


def test_a_combination_is_set_beside_the_better_of_its_parts(runs_of):
    """A filter leaves 40 %, FT-SAM 20 %, both together 25 %: 5 points more than the better one."""
    parts = [runs_of("filter", (0.4, 0.4, 0.4)), runs_of("FT-SAM", (0.2, 0.2, 0.2))]
    both = runs_of("filter + FT-SAM", (0.25, 0.25, 0.25), acc=(0.8, 0.8, 0.8))
    text = stages.combination_words(pd.concat([*parts, both]))
    assert text.startswith("The one combination whose parts were all run leaves more ASR")
    assert "ASR 25.0 %, +5.0 points beside the better of its parts; ACC -5.0 points" in text
    assert "little" not in text  # every victim has 99 %
    assert stages.combination_words(pd.concat(parts)) == "No combination has records of all its parts yet."


def test_an_attack_that_fails_on_victims_is_named_beside_what_a_combination_adds(runs_of):
    methods = ("filter", "FT-SAM", "filter + FT-SAM")
    runs = pd.concat([runs_of(method, (0.1, 0.1, 0.1)) for method in methods])
    runs.loc[runs["seed"] == 1, "asr_before"] = 0.11
    text = stages.combination_words(runs)
    assert "The attack itself has less than 90 % ASR on 1 victim of BadNets: where there is little to remove" in text
