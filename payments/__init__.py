# SPDX-License-Identifier: GPL-3.0-or-later
"""Prices, ledger, vouchers and the only way to the chain (payments/README.md)."""
