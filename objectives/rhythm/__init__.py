"""Beats with confidence: a decoder that turns evidence of S1 and S2 in every frame into beats of a whole recording.

durations.py holds the prior (how long cycles, systoles and gaps last) and sounds.py the evidence of a sound at each
frame. chain.py and backward.py are the forward and the backward pass, with the sums of lags.py; paths.py draws whole
rhythms. decode.py is the entry. frames.py makes evidence and training targets from an envelope, and confidence.py
judges and calibrates probabilities. windows.py scores short windows. Nothing here depends on a network. Of ours, only
objectives.heart is imported.
"""
