"""Rows that show the same picture: for authors of pairs whose data name no groups."""

from datk.data.duplicates.search import (
    Duplicates,
    find_all_duplicates,
    find_duplicates,
    group_duplicates,
    linked,
)

__all__ = ["Duplicates", "find_all_duplicates", "find_duplicates", "group_duplicates", "linked"]
