"""The names of the scores that come with Drivebeat, for those who read stored scores and compute none."""

# training.evaluation.scores.SCORES has these, and those of plug-ins.
OWN_SCORE_NAMES = (
    "si_sdr_db",
    "snr_db",
    "snr_improvement_db",
    "prd_percent",
    "cosine_similarity",
    "mad",
    "event_f1",
    "hr_within_5_bpm",
    "hr_error_bpm",
    "usable_time",
)
