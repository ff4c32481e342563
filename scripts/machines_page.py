"""Write the tables of docs/guide/machines.md of the JSON documents from the classes of search.documents.

    python -m scripts.machines_page

A test fails where the page is not what this writes.
"""

from pathlib import Path

from search.documents.all import markdown

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "machines.md"
BEGIN = "<!-- Written by python -m scripts.machines_page from search/documents. -->\n"


def written(page: str) -> str:
    """Return the text of the page with its tables of documents as the classes have them."""
    head, _, _ = page.partition(BEGIN)
    return f"{head}{BEGIN}\n{markdown().rstrip()}\n"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
