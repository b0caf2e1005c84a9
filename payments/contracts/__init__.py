# SPDX-License-Identifier: GPL-3.0-or-later
"""The contracts: Solidity in `src/`, and what they compile to in `artifacts/`."""
