"""The rule for the names of studies."""

from data.errors import printable
from training.errors import ConfigError

# Of a study's name with its family, in UTF-8: a folder's name has at most 255, a file's some more than the study's, and
# a column of the database 200 characters.
MAX_NAME_BYTES = 200
MAX_SHOWN = 40  # characters


def check_name(name: str, where: str) -> None:
    """Raise ConfigError for a name that a new study cannot have: of no folder, or of an option of a command.

    Stored studies are not checked, for another program may have renamed one: see data.files.path_part.

    where: what gives the name, for the message.
    """
    size = len(name.encode("utf-8", "surrogatepass"))
    broken = {
        "is empty": not name,
        "holds '/'": "/" in name,
        f"is the folder {name!r}": name in (".", ".."),
        "begins or ends with a blank": name != name.strip(),
        "begins with '-', as options do": name.startswith("-"),
        "holds unprintable characters": printable(name) != name,
        f"has {size} bytes": size > MAX_NAME_BYTES,
    }
    problem = next((text for text, is_broken in broken.items() if is_broken), None)
    if problem is not None:
        shown = name if len(name) <= MAX_SHOWN else f"{name[: MAX_SHOWN - 3]}..."
        raise ConfigError(
            f"{where}: name: {shown!r} {problem}; a name has 1 to {MAX_NAME_BYTES} printable bytes of UTF-8, no '/', "
            "no blank at either end and no '-' at the start"
        )
