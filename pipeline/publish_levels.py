"""Mean and deviation of the training clips, from the sums that their builds noted."""

from collections.abc import Iterable

from pipeline.quality import added, deviation_levels, mean_levels
from schemas.facts import ClipFacts, LevelSums
from schemas.release import BandStatistics, Statistics


def statistics_of(clips: Iterable[ClipFacts]) -> Statistics | None:
    """Statistics over every valid pixel of some clips, exact but for the last division and root.

    Args:
        clips: the training clips, in any order.

    Returns:
        None without any sample.
    """
    infrared, visible = LevelSums(), LevelSums()
    for clip in clips:
        infrared = added(infrared, clip.infrared_levels)
        visible = added(visible, clip.visible_levels)
    if not infrared.samples:
        return None
    return Statistics(infrared=_band(infrared), visible=_band(visible))


def _band(sums: LevelSums) -> BandStatistics:
    return BandStatistics(mean_levels=mean_levels(sums), deviation_levels=deviation_levels(sums))
