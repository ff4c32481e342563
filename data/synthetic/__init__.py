"""Generate seeded in-car recordings in the layouts that the readers read. Imports filters and recording.

Each part of the physics is a file: heart, vehicle, sensor.
"""
