"""The table of public collections by name; a next collection is a module beside this, and its line here."""

from collections.abc import Mapping
from types import MappingProxyType

from data.errors import DataError, near
from data.public.cinc2016 import CINC2016
from data.public.collection import Collection
from data.public.ephnogram import EPHNOGRAM
from data.public.mscardio import MSCARDIO
from data.public.realdata2 import REALDATA2
from data.public.senssmarttech import SENSSMARTTECH

COLLECTIONS: Mapping[str, Collection] = MappingProxyType(
    {found.name: found for found in (MSCARDIO, CINC2016, SENSSMARTTECH, EPHNOGRAM, REALDATA2)}
)


def collection(name: str) -> Collection:
    """Return the collection of a name. Raises DataError, listing the names, for another."""
    if name not in COLLECTIONS:
        raise DataError(f"no collection {name!r}{near(name, COLLECTIONS)}; known are {', '.join(COLLECTIONS)}")
    return COLLECTIONS[name]
