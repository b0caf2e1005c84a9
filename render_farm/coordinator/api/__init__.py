# SPDX-License-Identifier: GPL-3.0-or-later
"""The coordinator on HTTP, version 1: docs/http.md is its contract."""
