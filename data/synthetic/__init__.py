"""Generate seeded in-car recordings in layouts that the readers can read. Imports filters and recording.

Each part of the physics is a module: heart, vehicle, sensor.
"""
