# SPDX-License-Identifier: GPL-3.0-or-later
"""Wallets: keys as encrypted files or behind a signer, and what is done with them, each thing once."""
