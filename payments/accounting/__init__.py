# SPDX-License-Identifier: GPL-3.0-or-later
"""Amounts, prices, and a job's money as entries of a ledger. Pure."""
