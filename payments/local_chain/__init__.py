# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of the embedded farm (`payments/embedded_chain.py`): py-evm behind JSON-RPC, and a journal."""
