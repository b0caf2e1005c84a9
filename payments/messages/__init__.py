# SPDX-License-Identifier: GPL-3.0-or-later
"""What is signed about money, and how: the words of clients, farms and operators."""
