"""Trained runs as ONNX models, which need no PyTorch: export, check, quantisation to 8 bits.

The packages of the extra `onnx` are imported by functions, so that everything else runs without them.
"""
