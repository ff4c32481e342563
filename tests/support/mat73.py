"""Write MATLAB v7.3 files."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray


def save_mat73(path: Path, held: dict[str, Any]) -> None:
    """As MATLAB's save -v7.3: HDF5 after a 512-byte header, axes reversed, the class in an attribute.

    A dict is a struct, a list of dicts an array of structs, a list of others a cell, a str a char array.
    """
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_group("#refs#")
        for name, value in held.items():
            _store73(file, file, name, value)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def _store73(file: h5py.File, group: h5py.Group, name: str, value: Any) -> None:
    classes = {"float64": "double", "float32": "single", "bool": "logical"}
    if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
        made = group.create_group(name)
        made.attrs["MATLAB_class"] = np.bytes_("struct")
        for key in value if isinstance(value, dict) else value[0]:
            if isinstance(value, dict):
                _store73(file, made, key, value[key])
            else:
                made.create_dataset(key, data=_references73(file, [one[key] for one in value]), dtype=h5py.ref_dtype)
        return
    kind = "cell"
    if isinstance(value, list):
        stored = group.create_dataset(name, data=_references73(file, value), dtype=h5py.ref_dtype)
    elif isinstance(value, str):
        stored, kind = group.create_dataset(name, data=np.array([[ord(letter)] for letter in value], "u2")), "char"
    else:
        as_bytes = value.astype("u1") if value.dtype == bool else value
        stored, kind = group.create_dataset(name, data=as_bytes.T), classes.get(value.dtype.name, value.dtype.name)
    stored.attrs["MATLAB_class"] = np.bytes_(kind)


def _references73(file: h5py.File, values: list[Any]) -> NDArray[Any]:
    """Return the references to values, stored as a row in MATLAB."""
    held = file["#refs#"]
    references = np.empty((len(values), 1), h5py.ref_dtype)
    for i, value in enumerate(values):
        name = f"v{len(held)}"
        _store73(file, held, name, value)
        references[i, 0] = held[name].ref
    return references
