# SPDX-License-Identifier: GPL-3.0-or-later
"""A paid job with real signatures, as tests of the settler want it."""

from dataclasses import dataclass, field, replace

from farm_protocol import typed_data
from farm_protocol.fields import convert
from farm_protocol.ids import DeviceClass, JobId, NodeId, OwnerId
from payments.chain.chain_events import AnyEvent
from payments.messages import signing
from payments.messages.network import Network, Windows
from payments.messages.promises import Offer, Signed, Terms
from payments.messages.session import session_key
from payments.messages.statements import NOBODY, Payment
from render_farm.settlement import session_signer
from render_farm.settlement.farm_entries import FarmEntry
from render_farm.settlement.job_ledger import JobLedger
from render_farm.settlement.orders import Cap, Seller
from render_farm.store.money import Agreement, PaidJob, StandingOffer

FARM_KEY = bytes([7]) * 32
FARM = typed_data.address_of(FARM_KEY)
CLIENT_KEY, OPERATOR_KEY = bytes([8]) * 32, bytes([9]) * 32
CLIENT, OPERATOR = typed_data.address_of(CLIENT_KEY), typed_data.address_of(OPERATOR_KEY)
NODE = "0x" + "b0" * 20
CLASS = "cpu:bpy-5.0.1"
UNIT = 1_000_000
PRICE = 10**16
NETWORK = Network(
    chain_id=721_337,
    token="0x" + "01" * 20,
    market="0x" + "02" * 20,
    vault="0x" + "03" * 20,
    disputes="0x" + "04" * 20,
    windows=Windows(claim=100, decision=100, grace=100, unbonding=301, slash=50),
    symbol="RND",
    decimals=18,
)


def job_name(job: str) -> str:
    return job.encode().ljust(32, b"\0").hex()


def terms(job: str, network: Network = NETWORK, **changes: object) -> Signed[Terms]:
    said = Terms(
        client=CLIENT,
        refundTo=CLIENT,
        farm=FARM,
        name=job_name(job),
        deadline=2_000_000_000,
        sessionKey=typed_data.address_of(session_key(FARM_KEY, JobId(job))),
        priceCap=2 * PRICE,
        stakeShare=93_750,
        watcher=NOBODY,
        arbiters=(FARM,),
        threshold=1,
        termsHash="ab" * 32,
    )
    said = replace(said, **changes)
    return signing.signed(said, network, FARM_KEY)


def offer(network: Network = NETWORK, key: bytes = OPERATOR_KEY, **changes: object) -> Signed[Offer]:
    said = Offer(
        farm=FARM,
        node=NODE,
        payee=typed_data.address_of(key),
        deviceClass=CLASS,
        price=PRICE,
        capacity=10**6,
        stakeShare=1_000_000,
        expiry=3_000_000_000,
        number=1,
    )
    said = replace(said, **changes)
    return signing.signed(said, network, key)


def digest(signed: Signed[Offer]) -> str:
    return signing.struct_hash(signed.message).hex()


def seller(node: str = "n1", stake: int = 10**24, key: bytes = OPERATOR_KEY, **changes: object) -> Seller:
    signed = offer(key=key, **changes)
    left = signed.message.price * signed.message.capacity
    return Seller(node, typed_data.address_of(key), signed, digest(signed), stake, left)


def standing(node: str = "n1", own: bool = False, **changes: object) -> StandingOffer:
    signed = offer(**changes)
    return StandingOffer(
        NodeId(node), OwnerId("bob"), own, OPERATOR, signed, digest(signed), DeviceClass(CLASS), 0.0
    )


def facts(job: str = "job1", **changes: object) -> PaidJob:
    made = PaidJob(
        job=JobId(job),
        owner=OwnerId("ann"),
        state="rendering",
        payment=Payment(10**19, 2 * PRICE, CLIENT, CLIENT, JobId("q1")),
        terms=terms(job),
        funded=True,
        settled=False,
        held="",
        units=100 * UNIT,
        units_left=100 * UNIT,
        largest_units=UNIT,
        audit_ppm=50_000,
        frames=100,
        tiles=100,
        tasks=200,
        device_class=None,
        created=0.0,
        excluded=frozenset(),
    )
    return replace(made, **changes)


@dataclass
class Paper:
    """A ledger and what feeds it."""

    job: str = "job1"
    ledger: JobLedger = None
    events: int = 0
    tokens: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger = JobLedger(JobId(self.job))
        self.signer = session_signer.of_job(NETWORK, FARM_KEY, JobId(self.job))

    def chain(self, kind: str, agreement: str = "", **fields: object) -> AnyEvent:
        """An event as ledgers have it since they are kept: all fields, under the names of old."""
        self.events += 1
        said = {
            "kind": kind,
            "event": f"0x{self.events:064x}:0",
            "block": self.events,
            "transaction": f"0x{self.events:064x}",
            "after": self.ledger.farm_entries,
            "agreement": agreement,
            "amount": 0,
            "total": 0,
            "who": "",
            "mark": "",
        }
        event = convert(said | fields, AnyEvent)
        self.ledger.take_chain(event)
        return event

    def opened(self, deposit: int = 10**19) -> None:
        self.chain("opened", total=1, who=CLIENT)
        self.chain("funded", amount=deposit)

    def order(self, node: str = "n1", cap: int = 16 * PRICE, own: bool = False) -> Agreement:
        made = self.signer.order(1, terms(self.job), Cap(seller(node), cap, PRICE, 16), len(self.ledger.held))
        self.ledger.promise(Agreement(NodeId(node), made, own=own, operator=OPERATOR))
        return self.ledger.held[made.agreement]

    def agreed(self, held: Agreement) -> None:
        share = held.promise.terms.message.stakeShare
        self.chain("agreement", held.agreement, total=held.cap, who=OPERATOR)
        self.chain("locked", held.agreement, amount=held.cap * share // 10_000, who=OPERATOR)

    def accept(
        self, task: str, held: Agreement | None, frame: int | None = 1, units: int = UNIT
    ) -> FarmEntry:
        token = self.tokens[task] = self.tokens.get(task, 0) + 1
        agreement = held.agreement if held else ""
        node = held.node if held else "own1"
        entry = FarmEntry("accepted", task, token, node, agreement, units, f"{len(self.tokens):064x}", frame)
        self.ledger.take_farm(entry)
        return entry

    def farm(self, kind: str, **fields: object) -> FarmEntry:
        entry = FarmEntry(kind, **fields)
        self.ledger.take_farm(entry)
        return entry
