# SPDX-License-Identifier: GPL-3.0-or-later
"""What the chain answers when it cannot do what was asked: JSON-RPC error codes with a sentence."""

PARSE, REQUEST, METHOD, PARAMS, INTERNAL, SERVER = -32700, -32600, -32601, -32602, -32603, -32000
REVERTED = 3


class RpcError(Exception):
    """An answer that is an error. `data` is what a reverted call returned, as 0x hexadecimal digits."""

    def __init__(self, code: int, sentence: str, data: str | None = None) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.data = data


class BadParameter(RpcError):
    """A parameter is missing, of the wrong kind or out of bounds."""

    def __init__(self, sentence: str) -> None:
        super().__init__(PARAMS, sentence)


class Refused(RpcError):
    """A transaction that is not taken. The sentences begin as those of geth do: callers match on them."""

    def __init__(self, sentence: str) -> None:
        super().__init__(SERVER, sentence)
