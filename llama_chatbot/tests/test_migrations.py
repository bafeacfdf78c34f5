"""The release before still works on the new schema: it runs there while a deployment goes on."""

from collections.abc import Iterator, Sequence

import pytest
from django.db.migrations import AddField, Migration, RemoveField, RenameField, RenameModel
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.models import NOT_PROVIDED, Field

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


def test_there_are_some() -> None:
    assert {migration.app_label for migration in later_migrations()} == OURS


@every_migration
def test_new_columns_have_a_default_in_the_database_or_may_be_null(migration: Migration) -> None:
    fields = added_fields(migration.operations)

    assert [name for name, field in fields if not is_filled_by_the_database(field)] == []


@every_migration
def test_no_column_that_the_release_before_knows_is_removed_or_renamed(
    migration: Migration,
) -> None:
    kinds = (RemoveField, RenameField, RenameModel)

    assert [each for each in migration.operations if isinstance(each, kinds)] == []
