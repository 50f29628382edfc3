"""Who is admitted. `test_node.py` has what a refusal leaves untouched, `test_authentication.py` the
stamps.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exoip.core.events import EventName
from exoip.heartbeat.admission import Admission
from exoip.heartbeat.authentication import UNPROVEN, WINDOW, Proof
from exoip.heartbeat.wire import Heartbeat
from tests.support.single_node import SingleNode

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
    one.set_members(MEMBERS, 0.0)
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


def test_a_peer_without_proof_is_denied_until_it_has_one():
    one = admission()
    judge(one, IDS[0], "host-0", Proof("unsigned"), now=7.0)
    judge(one, IDS[1], "host-0", Proof("unsigned"), now=7.0)  # not its own address
    assert one.denied == {IDS[0]: ("unsigned", 7.0)}
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


class TestMembersThatAreNotHeard:
    def test_they_are_reported_once_when_they_run(self) -> None:
        one = Admission(EIP)
        one.set_members(MEMBERS, 15.0)
        judge(one, IDS[1], "host-1", Proof("signature"))  # it arrived, so the network is not the fault
        assert one.due_unheard(IDS, 15.0, 14.9) == []
        assert one.due_unheard((), 15.0, 15.0) == []
        assert one.unheard == {IDS[0]: 30.0}
        assert one.due_unheard(IDS, 15.0, 30.0) == [IDS[0]]
        assert one.due_unheard(IDS, 15.0, 99.0) == []
        judge(one, IDS[0], "host-0")
        assert one.unheard == {}
        one.set_members({**MEMBERS, IDS[2]: ("host-2", 1)}, 99.0)
        assert one.unheard == {IDS[2]: 99.0}, "the others were heard"

    def test_by_the_node_in_virtual_time(self) -> None:
        bench = SingleNode()
        bench.beating["a"] = 20
        bench.stopped.add("z")
        bench.advance(40.0)
        assert bench.said(EventName.NEVER_HEARD) == [], "z does not run"
        bench.stopped.clear()
        bench.advance(60.0)
        (event,) = bench.said(EventName.NEVER_HEARD)
        assert event.instance_id == bench.view.peers[1].instance_id
        assert [peer.never_heard for peer in bench.view.peers] == [False, True]
        bench.heard("z", 30)
        assert not bench.view.peers[1].never_heard

    def test_a_members_id_from_another_address(self) -> None:
        one = admission()
        assert judge(one, IDS[0], "host-9", Proof("signature")) == "unknown", "anybody may claim that"
        assert judge(one, IDS[0], "host-9", now=7.0) == "address"
        assert one.elsewhere == {IDS[0]: ("host-9", 7.0)}
        bench = SingleNode()
        bench.node.heard(Heartbeat(5, EIP, bench.view.peers[0].instance_id), "host-9", bench.now)
        assert bench.view.peers[0].elsewhere == "host-9"
        (event,) = bench.said(EventName.DATAGRAM_DROPPED)
        assert (event.instance_id, event.details["address"]) == (bench.view.peers[0].instance_id, "host-9")
        bench.advance(4.0)
        assert bench.view.peers[0].elsewhere == "", "it no longer sends"
