"""The release before still works on the new schema: it runs there while a deployment goes on."""

from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.db.migrations import (
    AddField,
    DeleteModel,
    Migration,
    RemoveField,
    RenameField,
    RenameModel,
)
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.models import NOT_PROVIDED, Field

from core import sql
from testing.fixtures.databases import default_database

OURS = {"accounts", "chat"}


def later_migrations() -> list[Migration]:
    """Return all of our migrations but the first of each app."""
    migrations = MigrationLoader(None).disk_migrations
    return [
        migration
        for (app, name), migration in sorted(migrations.items())
        if app in OURS and not name.startswith("0001")
    ]


def added_fields(operations: Sequence[Operation]) -> Iterator[tuple[str, Field]]:  # type: ignore[type-arg]
    for operation in operations:
        if isinstance(operation, AddField):
            yield f"{operation.model_name}.{operation.name}", operation.field


def is_filled_by_the_database(field: Field) -> bool:  # type: ignore[type-arg]
    """Return whether a row may be stored by code that does not know the field."""
    return field.null or field.db_default is not NOT_PROVIDED or field.many_to_many or False


every_migration = pytest.mark.parametrize("migration", later_migrations(), ids=str)


def test_there_are_migrations_to_try() -> None:
    assert {migration.app_label for migration in later_migrations()} == OURS


@every_migration
def test_new_columns_have_a_default_in_the_database_or_may_be_null(migration: Migration) -> None:
    fields = added_fields(migration.operations)

    assert [name for name, field in fields if not is_filled_by_the_database(field)] == []


@every_migration
def test_no_column_that_the_release_before_knows_is_removed_or_renamed(
    migration: Migration,
) -> None:
    kinds = (DeleteModel, RemoveField, RenameField, RenameModel)

    assert [each for each in migration.operations if isinstance(each, kinds)] == []


@pytest.fixture
def sqlite(prepared_database: None, tmp_path: Path) -> Iterator[None]:
    """A SQLite database with all tables."""
    if connection.vendor == "sqlite":
        yield
        return
    with default_database(f"sqlite:///{tmp_path}/db.sqlite3"):
        call_command("migrate", verbosity=0)
        yield


def indexes_of(table: str) -> dict[str, list[str]]:
    """Return the columns of each index, without partial ones and those of expressions."""
    indexes: dict[str, list[str]] = {}
    for name in sql.column("SELECT name FROM pragma_index_list(%s) WHERE NOT partial", table):
        columns = sql.column("SELECT name FROM pragma_index_info(%s) ORDER BY seqno", name)
        if None not in columns:
            indexes[name] = columns
    return indexes


def test_no_index_is_the_beginning_of_another(sqlite: None) -> None:
    for app in OURS:
        for model in apps.get_app_config(app).get_models():
            indexes = indexes_of(model._meta.db_table)
            for (name, columns), (longer, others) in permutations(indexes.items(), 2):
                assert others[: len(columns)] != columns, f"{longer} has all of {name}"
