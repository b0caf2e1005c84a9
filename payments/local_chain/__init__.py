# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of the embedded farm (`process.py` is its process): py-evm behind JSON-RPC, and a journal."""
