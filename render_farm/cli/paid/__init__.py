# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that are paid for: the wallet, deposits, statements and what comes back."""
