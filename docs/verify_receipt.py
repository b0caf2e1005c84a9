# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a frame's receipt with nothing of the farm's: python verify_receipt.py RECEIPT [FARM'S ADDRESS]"""
import hashlib, hmac, json, sys
from eth_account import Account, messages
TYPES = {"Attestation": "string task,uint64 token,bytes32 pixelRoot,bytes32 object,string deviceClass,string build,uint64 renderMilliseconds",
         "Appointment": "bytes32 attestation,bytes32 salt,uint32 attempt,uint64 round,bytes32 commitment,uint32 rate", "LogHead": "uint64 round,uint64 size,bytes32 root",
         "Submission": "bytes32 attestation,uint64 time,uint64 round,bytes32 commitment,uint32 rate"}
sys.setrecursionlimit(1000)  # a library raises it so far that deep nesting would end the program
def canonical(value): return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
def sha(data): return hashlib.sha256(data).digest()
def typed(kind, says):
    form = [dict(zip(("type", "name"), field.split())) for field in TYPES[kind].split(",")]
    raw = {f["name"]: bytes.fromhex(says[f["name"]]) if f["type"] == "bytes32" else says[f["name"]] for f in form}
    return messages.encode_typed_data({"name": "Render Farm", "version": "1", "verifyingContract": farm}, {kind: form}, raw)
def signed(what, signature, by): return Account.recover_message(what, signature=signature).lower() == by.lower()
def root(node, place, last, path):  # RFC 6962, section 2.1.1
    while last > 0:
        if place % 2 or place < last:
            node = sha(b"\1" + (bytes.fromhex(path.pop(0)) + node if place % 2 else node + bytes.fromhex(path.pop(0))))
        place, last = place // 2, last // 2
    return node.hex() if not path else ""
def faults(t):
    a, n, r, p, one = t["attestation"], t["appointment"], t["receipt"], t["proof"], rounds[t["appointment"]["round"]]
    digest, drawn = (messages._hash_eip191_message(typed(*x)) for x in (("Submission", r), ("Appointment", n)))
    due = n["attempt"] > 1 and not t["own"] or int(hmac.digest(hmac.digest(bytes.fromhex(one["value"]), drawn, "sha256"), b"audit", "sha256").hex(), 16) % 10**6 < n["rate"]
    yield signed(typed("Attestation", {**a, "task": t["task"]}), t["signature"], t["address"]), "not what its node signed"
    yield signed(typed("Appointment", n), t["appointment_signature"], t["address"]) and messages._hash_eip191_message(typed("Attestation", a)).hex() == n["attestation"], "its node agreed to other terms"
    yield signed(typed("Submission", r), t["receipt_signature"], farm) and all(r[name] == n[name] for name in ("attestation", "round", "commitment", "rate")), "its receipt is another's"
    yield r["time"] < rules["genesis_ms"] + (r["round"] - 2) * rules["period_ms"], "the log was closed for its round before it came"
    yield n["commitment"] == (sha(bytes.fromhex(one["value"])).hex() if rules["beacon"] == "local" else "0" * 64), "a commitment is broken"
    yield 0 <= p["leaf"] < p["size"] == one["size"] and root(sha(b"\0" + digest), p["leaf"], p["size"] - 1, p["path"][:]) == p["root"] == one["root"], "it is not in its round's log"
    yield t["audited"] if due else not t["audited"] or t["forced"], "audited or not: its round says otherwise"
    for x in t["audits"]:
        yield (x["own"] or x["operator"] != t["operator"]) and signed(typed("Attestation", {**x["attestation"], "task": x["task"]}), x["signature"], x["address"]), "not its auditor"
    if t in body["tiles"]:
        same = [x["same_class"] for x in t["audits"] if not x["contradicted"]]
        fine = (same or not t["audited"]) and not (any(same) and (t["metric"] or {}).get("different"))
        yield fine and t["verdict"]["outcome"] == "accepted", "it was not accepted, not audited, or not equal to its audit"
        yield [a["deviceClass"], a["build"]] == [body["device_class"], body["build"]], "it is of another Blender"
def grid(area, tiles):  # rows from the top, without gap or overlap
    xs, ys = (sorted({(t[a], t[b]) for t in tiles}) for a, b in (("x0", "x1"), ("y0", "y1")))
    sides = (sum(xs, ()), area["x0"], area["x1"]), (sum(ys, ()), area["y0"], area["y1"])
    whole = [dict(x0=x, y0=y, x1=u, y1=v) for y, v in ys[::-1] for x, u in xs]
    return tiles == whole and all(s[0] == a and s[1:-1:2] == s[2::2] and s[-1] == b for s, a, b in sides)
def checks():
    yield canonical(document) == text.removesuffix(b"\n") and len(document) == 2, "it is not in canonical form"
    said = messages.encode_defunct(text=f"Render farm document, sha256 {sha(canonical(body)).hex()}")
    yield signed(said, document["signature"], farm) and farm.lower() == (sys.argv[2:] or [farm])[0].lower(), "not the farm's, or changed"
    for one in body["rounds"]: yield signed(typed("LogHead", one), one["signature"], farm), "a log's head is not the farm's"
    yield all(t["task"] == f"{body['job']}.f{body['frame']}.t{i}" for i, t in enumerate(body["tiles"])), "other tasks"
    yield grid(body["area"], [t["tile"] for t in body["tiles"]]), "the tiles do not cover the frame"
    for t in body["tiles"] + body["refused"]: yield from ((holds, f"{t['task']}: {why}") for holds, why in faults(t))
try:
    document = json.loads(text := open(sys.argv[1], "rb").read(1 << 25))
    body, farm = (body := document["receipt"]), body["farm"]
    rounds, rules = {one["round"]: one for one in body["rounds"]}, body["rules"]
    wrong = [why for holds, why in checks() if not holds]
except Exception as error:
    wrong = [f"this is no receipt: {error!r}"]
sys.exit("\n".join(wrong) or print(f"Frame {body['frame']} of {body['job']} holds: signed by the farm {farm}."))
