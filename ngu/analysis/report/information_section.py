"""How many bits each dimension holds and what they share."""

from __future__ import annotations

from ngu.analysis.gaussian_information import SharedInformation
from ngu.analysis.report.section import Number, Section


def information_section(shared: SharedInformation) -> Section:
    """Entropy of dimensions, mutual information of pairs, and what all share.

    Args:
        shared: by the covariance.
    """
    return Section(
        key="information",
        title="What its dimensions hold and share",
        how="",
        numbers=(
            Number(
                "total_correlation_bits",
                "total correlation",
                shared.total_correlation_bits,
                "bits that are written twice when each dimension is coded on its own",
                "bits",
            ),
            Number(
                "dual_total_correlation_bits",
                "dual total correlation",
                shared.dual_total_correlation_bits,
                "bits that at least two dimensions hold together",
                "bits",
            ),
            Number(
                "o_information_bits",
                "O-information",
                shared.o_information_bits,
                "their difference: above 0 dimensions repeat each other, below they tell together",
                "bits",
            ),
        ),
    )
