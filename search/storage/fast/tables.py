"""Optuna's tables for SQLAlchemy Core."""

from sqlalchemy import Table

from search.storage.optuna_private import models

STUDIES: Table = models.StudyModel.__table__
DIRECTIONS: Table = models.StudyDirectionModel.__table__
STUDY_USER: Table = models.StudyUserAttributeModel.__table__
STUDY_SYSTEM: Table = models.StudySystemAttributeModel.__table__
TRIALS: Table = models.TrialModel.__table__
PARAMS: Table = models.TrialParamModel.__table__
VALUES: Table = models.TrialValueModel.__table__
REPORTS: Table = models.TrialIntermediateValueModel.__table__
USER: Table = models.TrialUserAttributeModel.__table__
SYSTEM: Table = models.TrialSystemAttributeModel.__table__
HEARTBEATS: Table = models.TrialHeartbeatModel.__table__

OF_A_TRIAL = (PARAMS, VALUES, REPORTS, USER, SYSTEM)
Marks = tuple[int, int, int, int, int]  # the highest row_id read of a trial in each table of OF_A_TRIAL
NO_MARKS: Marks = (0, 0, 0, 0, 0)
HEAD = -1  # kind of the row of the trial itself; other kinds are indices into OF_A_TRIAL
