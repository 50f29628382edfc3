"""Who is admitted. `test_node.py` has what a refusal leaves untouched, `test_authentication.py` the
stamps.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exoip.core.admission import Admission
from exoip.heartbeat.authentication import UNPROVEN, WINDOW, Proof
from exoip.heartbeat.wire import Heartbeat

EIP, DEAD = "198.51.100.50", 3.0
IDS = [f"00000000-0000-4000-8000-00000000000{n}" for n in range(4)]
MEMBERS = {IDS[0]: ("host-0", 1), IDS[1]: ("host-1", 1)}

proofs = st.builds(
    Proof, st.sampled_from(["", "", "unsigned", "signature"]), st.none() | st.integers(0, 9), st.floats(-99, 99)
)
packets = st.tuples(
    st.sampled_from([EIP, "192.0.2.1"]), st.sampled_from(IDS), st.sampled_from(["host-0", "host-1", "host-9"]), proofs
)


def admission() -> Admission:
    one = Admission(EIP)
    one.set_members(MEMBERS)
    return one


def judge(one: Admission, sender: str, address: str, proof: Proof = UNPROVEN, eip: str = EIP, now: float = 0.0) -> str:
    return one.judge(Heartbeat(5, eip, sender), address, proof, DEAD, now)


def test_the_causes_in_their_order():
    """What is no business of ours is not called badly signed."""
    bad = Proof("signature")
    one = admission()
    assert judge(one, IDS[0], "host-0", bad, eip="192.0.2.1") == "eip"
    assert judge(one, IDS[2], "host-9", bad) == "unknown"
    assert judge(one, IDS[0], "host-1", bad) == "identity"
    assert judge(one, IDS[0], "host-0", bad) == "signature"
    assert judge(one, IDS[0], "host-0", Proof(stamp=1, ahead=WINDOW + 1)) == "clock"
    assert judge(one, IDS[0], "host-0", Proof(stamp=1)) == ""
    assert judge(one, IDS[0], "host-0", Proof(stamp=1)) == "replay"
    assert judge(one, IDS[0], "host-0") == ""


def test_denied_is_who_has_no_proof_until_it_has():
    one = admission()
    judge(one, IDS[0], "host-0", Proof("unsigned"))
    judge(one, IDS[1], "host-0", Proof("unsigned"))  # not its own address
    assert one.denied == {IDS[0]: "unsigned"}
    judge(one, IDS[0], "host-0", Proof(stamp=1))
    assert one.denied == {}


@given(st.lists(packets, max_size=60))
def test_only_members_at_their_address_with_proof_count_and_little_is_kept(flood):
    one = admission()
    for now, (eip, sender, address, proof) in enumerate(flood):
        if judge(one, sender, address, proof, eip, float(now)) == "":
            assert eip == EIP
            assert MEMBERS[sender][0] == address
            assert not proof.cause
    assert set(one.denied) | set(one._stamps._senders) <= set(MEMBERS)
