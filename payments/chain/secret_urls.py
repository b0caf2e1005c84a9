# SPDX-License-Identifier: GPL-3.0-or-later
"""URLs of chains and signers may carry a secret: no library may write them into a log."""

import logging


def keep_out_of_logs() -> None:
    """Hush urllib3 where it warns with whole URLs, whatever level the program logs at."""
    # Of an answer with broken headers; as a child's level it holds against any level of the root.
    logging.getLogger("urllib3.connection").setLevel(logging.ERROR)
    # At the level of debugging, each request and session is told with its URL.
    for name in ("urllib3", "web3"):
        logging.getLogger(name).setLevel(logging.WARNING)
