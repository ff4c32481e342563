"""The names of the files of a run that others than the training read too."""

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
