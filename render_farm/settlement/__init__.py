# SPDX-License-Identifier: GPL-3.0-or-later
"""What the settler does: follows the chain, keeps each paid job's ledger, promises, sends, tells."""
