"""Our storage keeps the whole of Optuna's own contract, on SQLite and on PostgreSQL."""

from collections.abc import Iterator

import pytest
from optuna.storages import BaseStorage
from optuna.testing.pytest_storages import StorageTestCase

from search.storage.open import open_storage


@pytest.fixture
def storage(empty_url: str) -> Iterator[BaseStorage]:
    opened = open_storage(empty_url, fast=True)
    yield opened
    opened.remove_session()


class TestOptunasContract(StorageTestCase):
    """Optuna's own suite, not one test left out."""
