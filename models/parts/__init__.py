"""Blocks that several model families share: convolutions, attention, spectra. Imports torch only.

A block that one family uses stays in that family's file.
"""
