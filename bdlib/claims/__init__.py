"""What the papers claim (book/claims.yaml), and the verdict of the records on each claim."""

from bdlib.claims.accepted import verify
from bdlib.claims.board import (
    claims_table,
    largest_judgment,
    largest_scale_run,
    styled,
    verdict_counts,
    verdict_table,
)
from bdlib.claims.schema import SCALES, Claim, ClaimError, Scale, load_claims
from bdlib.claims.values import check_claim, claim_values
from bdlib.claims.verdicts import VERDICTS, counted_verdicts, is_asked, judge

__all__ = [
    "SCALES", "VERDICTS", "Claim", "ClaimError", "Scale", "check_claim", "claim_values", "claims_table",
    "counted_verdicts", "is_asked", "judge", "largest_judgment", "largest_scale_run", "load_claims", "styled",
    "verdict_counts", "verdict_table", "verify",
]  # fmt: skip
