# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing what nodes and the farm say about work, and who signed it.

The domain names the farm by the address it signs with, so that nothing signed for one farm is worth
anything at another.
"""

import secrets

from farm_protocol import typed_data
from farm_protocol.appointments import Appointment, AuditTerms
from farm_protocol.documents import TYPES, Attestation, Signed, Submission
from farm_protocol.ids import LeaseToken, TaskId
from farm_protocol.records import TaskResult
from farm_protocol.typed_data import BadSignature, Signable


def attest(task: TaskId, token: LeaseToken, result: TaskResult) -> Attestation:
    """The attestation a result stands for. Raises BadSignature for a result without pixel root."""
    if result.pixel_root is None:
        raise BadSignature("The result has no pixel root: a node signs what it rendered.")
    return Attestation(
        task=task,
        token=token,
        pixelRoot=result.pixel_root,
        object=result.files[0].sha256,
        deviceClass=result.device_class,
        build=result.device_class.rpartition(":")[2],
        renderMilliseconds=round(result.render_seconds * 1000),
    )


def digest(message: Signed, farm: str) -> bytes:
    """The 32 bytes that are signed. `farm` is the farm's address."""
    return typed_data.digest_of(_signable(message, farm))


def appoint(message: Attestation, terms: AuditTerms, attempt: int, farm: str) -> Appointment:
    """Appointment by which a node accepts the farm's `terms` for what it attested in `message`. `attempt`
    counts the terms it accepted for that, from 1; `farm` is the address that is signed to.
    """
    said = attempt, terms.round, terms.commitment, terms.rate
    return Appointment(digest(message, farm).hex(), secrets.token_hex(32), *said)


def is_receipt_of(receipt: Submission, appointed: Appointment) -> bool:
    """Whether the farm's receipt says what the node's appointment says."""
    said = (receipt.attestation, receipt.round, receipt.commitment, receipt.rate)
    return said == (appointed.attestation, appointed.round, appointed.commitment, appointed.rate)


def sign_document(data: bytes, key: bytes) -> str:
    """Sign the sha256 of a document as a message for people (EIP-191), which any wallet can check."""
    return typed_data.sign(typed_data.signable_document(data), key)


def document_signer(data: bytes, signature: str | None) -> str:
    """The address that signed the document. Raises BadSignature as `signer` does."""
    return typed_data.signer_of(typed_data.signable_document(data), signature)


def sign(message: Signed, farm: str, key: bytes) -> str:
    """The signature as 0x and 130 hexadecimal digits."""
    return typed_data.sign(_signable(message, farm), key)


def signer(message: Signed, farm: str, signature: str | None) -> str:
    """The address that signed `message`. Raises BadSignature for what is no canonical signature."""
    return typed_data.signer_of(_signable(message, farm), signature)


def require_signer(message: Signed, farm: str, signature: str | None, address: str) -> None:
    """Raises BadSignature unless `address` signed `message`."""
    typed_data.require_signed_by(address, _signable(message, farm), signature)


def _signable(message: Signed, farm: str) -> Signable:
    domain = {"name": "Render Farm", "version": "1", "verifyingContract": farm}
    return typed_data.signable(message, TYPES[type(message)], domain)
