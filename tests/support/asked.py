"""What an HTML page asks of other hosts when it is shown."""

import html.parser
import re

# What an element asks for when its page is shown. A link (`a`) asks for nothing until somebody follows it.
ASKS = {"src", "srcset", "poster", "data", "background", "action"}
FOREIGN = re.compile(r"^\s*(https?:)?//", re.IGNORECASE)
IN_STYLES = re.compile(r"""(?:url\(\s*|@import\s+)["']?\s*((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)


class Asked(html.parser.HTMLParser):
    """Collects what a page asks of other hosts when it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            asks = name in ASKS or (name == "href" and tag in ("link", "base", "image", "use"))
            if asks and value and FOREIGN.match(value):
                self.found.append(f"<{tag} {name}={value}>")
            if name == "style" and value:
                self.found += IN_STYLES.findall(value)


def asked(text: str) -> list[str]:
    """Return what a page asks of other hosts."""
    parser = Asked()
    parser.feed(text)
    return [*parser.found, *IN_STYLES.findall(text)]
