# SPDX-License-Identifier: GPL-3.0-or-later
"""The API's description says of each field of each record what it is."""

from fastapi import FastAPI

from render_farm.coordinator.api import description


def test_every_field_of_every_record_is_described() -> None:
    records = description.openapi(FastAPI())["components"]["schemas"]
    fields = {
        f"{record}.{field}": schema
        for record, described in records.items()
        for field, schema in described.get("properties", {}).items()
    }
    assert len(fields) > 700
    assert [name for name, schema in fields.items() if not schema.get("description")] == []
    assert fields["Blob.size"]["description"] == "bytes"
