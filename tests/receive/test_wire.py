"""The C-STORE path byte by byte, against a peer that sends what no toolkit would."""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.part10 import ObjectIdentity, canonical_header
from dicom_node.receive import CANNOT_UNDERSTAND, CLASS_MISMATCH, OUT_OF_RESOURCES, SUCCESS
from tests.peers.raw_dicom import (
    ABORT,
    COMMAND,
    COMMAND_LAST,
    CT,
    DATA,
    DATA_LAST,
    EXPLICIT_LE,
    IMPLICIT_LE,
    RELEASE_RQ,
    VERIFICATION,
    RawPeer,
    data_pdus,
    echo_rq,
    element,
    p_data,
    pdu,
    pdv,
    store_rq,
    us,
)
from tests.receive.conftest import ListenerFactory, Stored, wait_for

BYTES = bytes(range(256)) * 300


def sha256(data: bytes, sop_class: str = CT, sop_instance: str = "1.2.3", syntax: str = EXPLICIT_LE) -> str:
    """The name of the object in the spool."""
    return hashlib.sha256(canonical_header(ObjectIdentity(sop_class, sop_instance, syntax)) + data).hexdigest()


def test_bytes_are_kept_as_they_came(listen: ListenerFactory, stored: Callable[[], Stored]) -> None:
    with listen() as listener, RawPeer(listener.port) as peer:
        assert peer.associate() == 2
        assert peer.store(BYTES) == SUCCESS
        # It may still stand in its slot: the journal names it, so a start would move it on.
        assert stored().durable == {sha256(BYTES)}, "it is there before the sender is told"
        peer.release()
    spool = stored()
    spool.check()
    assert set(spool.files) == {sha256(BYTES)}
    (instance,) = spool.instances
    assert (instance["sop_class_uid"], instance["sop_instance_uid"]) == (CT, "1.2.3")
    assert (instance["calling_ae"], instance["called_ae"], instance["peer"]) == ("RAW", "MEDREID", "127.0.0.1")
    assert spool.ends == ["released"]


def test_any_fragmentation_stores_the_same_bytes(listen: ListenerFactory, stored: Callable[[], Stored]) -> None:
    """Command and data in PDVs of any size, any number of PDVs to a PDU, PDUs in any pieces of TCP."""

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def exchange(data: st.DataObject) -> None:
        content = data.draw(st.binary(max_size=300))
        items = _fragments(data, store_rq(message_id=9), COMMAND) + _fragments(data, content, DATA)
        stream = b""
        while items:
            count = data.draw(st.integers(1, len(items)))
            stream += p_data(*items[:count])
            items = items[count:]
        cut = data.draw(st.integers(0, len(stream)))
        peer.send(stream[:cut])
        peer.send(stream[cut:])
        response = peer.read_command()
        assert (response[0x0900], response[0x0120]) == (us(SUCCESS), us(9))
        wait_for((stored().folder / "objects" / sha256(content)[:2] / f"{sha256(content)}.dcm").is_file)

    with listen() as listener, RawPeer(listener.port) as peer:
        assert peer.associate() == 2
        exchange()
        peer.release()
    stored().check()


def _fragments(data: st.DataObject, content: bytes, control: int) -> list[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=4)))
    edges = [0, *cuts, len(content)]
    parts = [content[start:end] for start, end in itertools.pairwise(edges)]
    return [pdv(1, control | 2 * (number == len(parts) - 1), part) for number, part in enumerate(parts)]


def test_command_after_command_without_waiting(listen: ListenerFactory, stored: Callable[[], Stored]) -> None:
    """Requests sent ahead of the answers, even within one PDU, are answered one after the other."""
    with listen() as listener, RawPeer(listener.port) as peer:
        peer.associate()
        first = [pdv(1, COMMAND_LAST, store_rq(sop_instance="1.1", message_id=1)), pdv(1, DATA_LAST, b"one")]
        second = [pdv(1, COMMAND_LAST, store_rq(sop_instance="1.2", message_id=2)), pdv(1, DATA_LAST, b"two")]
        echo = pdv(3, COMMAND_LAST, echo_rq())
        peer.send(p_data(*first, *second, echo), p_data(*first))
        answers = [peer.read_command() for _ in range(4)]
        assert [int.from_bytes(one[0x0120], "little") for one in answers] == [1, 2, 7, 1]
        assert {one[0x0900] for one in answers} == {us(SUCCESS)}
        peer.release()
    assert set(stored().files) == {sha256(b"one", sop_instance="1.1"), sha256(b"two", sop_instance="1.2")}
    assert len(stored().instances) == 3


def test_echo_between_objects_and_fragmented_echo(listen: ListenerFactory) -> None:
    with listen() as listener, RawPeer(listener.port) as peer:
        peer.associate()
        for _ in range(3):
            assert peer.store(b"data") == SUCCESS
            peer.send(p_data(pdv(3, COMMAND_LAST, echo_rq())))
            assert peer.status() == SUCCESS
            command = echo_rq()
            peer.send(*(p_data(pdv(3, COMMAND, command[n : n + 1])) for n in range(len(command) - 1)))
            peer.send(p_data(pdv(3, COMMAND_LAST, command[-1:])))
            assert peer.status() == SUCCESS
        peer.release()


@pytest.mark.parametrize(
    "command",
    [
        store_rq(group_length=0),
        store_rq(group_length=2**32 - 1),
        store_rq()[12:],
        store_rq(more=element(0x1030, b"MOVER") + element(0x1031, us(3))),
        store_rq(more=element(0x7FFF, b"unknown")),
        store_rq(sop_instance="1.2.3 "),
    ],
    ids=[
        "group length 0",
        "group length 4 GB",
        "no group length",
        "move originator",
        "unknown element",
        "space padding",
    ],
)
def test_odd_but_readable_commands_are_served(
    listen: ListenerFactory, stored: Callable[[], Stored], command: bytes
) -> None:
    with listen() as listener, RawPeer(listener.port) as peer:
        peer.associate()
        assert peer.store(BYTES, command) == SUCCESS
        peer.release()
    assert set(stored().files) == {sha256(BYTES)}


HOSTILE_UIDS = [
    b"../../../../../../tmp/escaped",
    b"/etc/passwd",
    b"1.2\0../3",
    b"\0",
    b"1" * 300,
    b"\xff\xfe\x80",
    b"1.2'; DROP TABLE instances; --",
    b"{{7*7}}\r\n%n%s",
]


@pytest.mark.parametrize("uid", HOSTILE_UIDS, ids=repr)
def test_hostile_instance_uids_are_only_text(listen: ListenerFactory, stored: Callable[[], Stored], uid: bytes) -> None:
    with listen() as listener, RawPeer(listener.port) as peer:
        peer.associate()
        expected = CANNOT_UNDERSTAND if not uid.strip(b"\0") else SUCCESS
        assert peer.store(BYTES, store_rq(sop_instance=uid)) == expected
        peer.release()
    spool = stored()
    spool.check()
    assert [one["sop_instance_uid"].encode("latin-1") for one in spool.instances] == [uid] * (expected == SUCCESS)
    assert all(len(name) == 64 for name in spool.files)


def test_what_cannot_be_stored_is_answered_and_the_association_lives(
    listen: ListenerFactory, stored: Callable[[], Stored]
) -> None:
    with listen() as listener, RawPeer(listener.port) as peer:
        peer.associate()
        assert peer.store(BYTES, store_rq(sop_class="1.2.840.10008.5.1.4.1.1.4")) == CLASS_MISMATCH
        assert peer.store(BYTES, store_rq(sop_instance="1" * 1100)) == CANNOT_UNDERSTAND
        peer.send(p_data(pdv(1, COMMAND_LAST, store_rq(data_set=0x0101))))
        assert peer.status() == CANNOT_UNDERSTAND
        assert peer.store(BYTES) == SUCCESS
        peer.release()
        assert listener.counts.totals() == {"SOP_CLASS_MISMATCH": 1, "UID_UNUSABLE": 1, "NO_DATA_SET": 1}
    assert set(stored().files) == {sha256(BYTES)}


REQUEST = p_data(pdv(1, COMMAND_LAST, store_rq()))
BROKEN = {
    "data before command": (p_data(pdv(1, DATA, b"data")), "FRAGMENT_ORDER"),
    "command inside data": (REQUEST + p_data(pdv(1, DATA, b"1"), pdv(1, COMMAND_LAST, store_rq())), "FRAGMENT_ORDER"),
    "another context inside data": (REQUEST + p_data(pdv(1, DATA, b"1"), pdv(3, DATA_LAST, b"2")), "FRAGMENT_ORDER"),
    "another context inside command": (p_data(pdv(1, COMMAND, b"1"), pdv(3, COMMAND_LAST, b"2")), "FRAGMENT_ORDER"),
    "context never offered": (p_data(pdv(99, COMMAND_LAST, store_rq())), "CONTEXT_NOT_ACCEPTED"),
    "PDV longer than its PDU": (REQUEST + p_data(pdv(1, DATA_LAST, b"1234", length=600)), "PDV_LENGTH"),
    "PDV of length 0": (REQUEST + p_data(pdv(1, DATA_LAST, b"", length=0)), "PDV_LENGTH"),
    "PDU of length 0": (REQUEST + p_data(), "PDV_LENGTH"),
    "PDU of 4 GB": (REQUEST + pdu(4, b"", length=2**32 - 1), "PDU_TOO_LONG"),
    "command of 20 kB": (p_data(pdv(1, COMMAND, bytes(8000))) * 3, "COMMAND_TOO_LONG"),
    "command of empty fragments": (p_data(*[pdv(1, COMMAND, b"")] * 2000) * 12, "COMMAND_TOO_LONG"),
    "no command set": (p_data(pdv(1, COMMAND_LAST, b"\xff" * 30)), "COMMAND_SET"),
    "empty command set": (p_data(pdv(1, COMMAND_LAST, b"")), "COMMAND_SET"),
    "no message ID": (
        p_data(pdv(1, COMMAND_LAST, element(0x0100, us(1)) + element(0x0800, us(1)))),
        "COMMAND_SET",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_protocol_is_aborted_and_named(listen: ListenerFactory, stored: Callable[[], Stored], case: str) -> None:
    stream, name = BROKEN[case]
    with listen() as listener:
        with RawPeer(listener.port) as peer:
            peer.associate()
            assert peer.store(b"good") == SUCCESS
            peer.send(stream)
            peer.expect_abort()
        with RawPeer(listener.port) as peer:
            peer.associate()
            assert peer.store(b"still alive") == SUCCESS
            peer.release()
        assert listener.counts.totals() == {name: 1}
    spool = stored()
    spool.check()
    assert set(spool.files) == {sha256(b"good"), sha256(b"still alive")}
    assert sorted(spool.ends) == ["aborted", "released"]


def test_a_last_fragment_that_never_comes_leaves_nothing(listen: ListenerFactory, stored: Callable[[], Stored]) -> None:
    with listen(NETWORK_TIMEOUT="0.5") as listener, RawPeer(listener.port) as peer:
        peer.associate()
        peer.send(REQUEST, *[p_data(pdv(1, DATA, bytes(10_000)))] * 20)
        peer.expect_abort()
        assert listener.counts.totals() == {"STALLED": 1}
    assert not stored().files and not stored().leftovers and not stored().instances


@pytest.mark.parametrize("ending", ["abort", "close", "release", "garbage"])
def test_a_sender_that_ends_mid_object_leaves_nothing(
    listen: ListenerFactory, stored: Callable[[], Stored], ending: str
) -> None:
    with listen() as listener, RawPeer(listener.port) as peer:
        peer.associate()
        assert peer.store(b"before") == SUCCESS
        peer.send(REQUEST, *[p_data(pdv(1, DATA, bytes(10_000)))] * 20)
        if ending == "close":
            peer.sock.close()
        else:
            peer.send({"abort": ABORT, "release": RELEASE_RQ, "garbage": b"\x55" * 50}[ending])
            assert peer.read(2**20) is not None
        wait_for(lambda: stored().ends)
    spool = stored()
    spool.check()
    assert set(spool.files) == {sha256(b"before")}
    assert spool.ends == [{"abort": "aborted", "close": "lost", "release": "released", "garbage": "aborted"}[ending]]


def test_every_context_gets_its_own_syntaxes(listen: ListenerFactory, stored: Callable[[], Stored]) -> None:
    """Unknown, private and retired SOP classes and transfer syntaxes are accepted; other services are not."""
    private, unknown, jpeg_xl = "1.3.6.1.4.1.99999.1", "1.2.840.10008.5.1.4.1.1.999.1", "1.2.840.10008.1.2.4.112"
    contexts = [
        (1, private, ["1.3.6.1.4.1.99999.2"]),
        (3, unknown, [jpeg_xl, EXPLICIT_LE]),
        (5, VERIFICATION, [IMPLICIT_LE]),
        (7, "1.2.840.10008.5.1.4.1.2.2.1", [IMPLICIT_LE]),  # Study Root Query, FIND
        (9, "1.2.840.10008.1.20.1", [IMPLICIT_LE]),  # Storage Commitment
        (11, CT, [EXPLICIT_LE]),
        (13, CT, [jpeg_xl]),
    ]
    with listen() as listener, RawPeer(listener.port) as peer:
        assert peer.associate(contexts) == 2
        assert peer.store(b"p", store_rq(private), context_id=1) == SUCCESS
        assert peer.store(b"u", store_rq(unknown), context_id=3) == SUCCESS
        assert peer.store(b"x", store_rq(CT), context_id=13) == SUCCESS
        assert peer.store(b"v", store_rq(VERIFICATION), context_id=5) == SUCCESS
        peer.send(p_data(pdv(7, COMMAND_LAST, store_rq("1.2.840.10008.5.1.4.1.2.2.1"))))
        peer.expect_abort()
        assert listener.counts.totals() == {"CONTEXT_NOT_ACCEPTED": 1}
    syntaxes = [(one["sop_class_uid"], one["transfer_syntax_uid"]) for one in stored().instances]
    assert syntaxes[:3] == [(private, "1.3.6.1.4.1.99999.2"), (unknown, jpeg_xl), (CT, jpeg_xl)]


def test_a_deflated_bomb_is_stored_as_it_is(listen: ListenerFactory, stored: Callable[[], Stored]) -> None:
    deflated = "1.2.840.10008.1.2.1.99"
    bomb = zlib.compress(bytes(64 * 1024 * 1024), 9)
    with listen() as listener, RawPeer(listener.port) as peer:
        peer.associate([(1, CT, [deflated])])
        assert peer.store(bomb) == SUCCESS
        peer.release()
    assert set(stored().files) == {sha256(bomb, syntax=deflated)}


def test_answers_fit_a_peer_with_tiny_pdus(listen: ListenerFactory) -> None:
    with listen() as listener, RawPeer(listener.port) as peer:
        assert peer.associate(max_pdu=32) == 2
        assert peer.store(b"data") == SUCCESS
        peer.release()


def test_a_message_of_another_service_may_not_grow_without_end(listen: ListenerFactory) -> None:
    """pynetdicom keeps whole messages in memory, so what is handed to it is bounded."""
    find = element(0x0002, CT.encode()) + element(0x0100, us(0x0020)) + element(0x0110, us(1)) + element(0x0800, us(1))
    with listen(MAX_PDU_LENGTH="131072") as listener, RawPeer(listener.port) as peer:
        peer.associate()
        peer.send(p_data(pdv(1, COMMAND_LAST, find)))
        with pytest.raises((ConnectionError, AssertionError)):
            for _ in range(2000):
                peer.send(p_data(pdv(1, DATA, bytes(100_000))))
            raise AssertionError("200 MB were taken")
        peer.expect_abort()
        assert listener.counts.totals() == {"MESSAGE_TOO_LONG": 1}


def test_a_service_we_do_not_offer_on_a_storage_context_ends_in_an_abort(listen: ListenerFactory) -> None:
    find = element(0x0002, CT.encode()) + element(0x0100, us(0x0020)) + element(0x0110, us(1)) + element(0x0800, us(1))
    with listen() as listener, RawPeer(listener.port) as peer:
        peer.associate()
        peer.send(p_data(pdv(1, COMMAND_LAST, find), pdv(1, DATA_LAST, b"")))
        answer = peer.read_pdu()
        assert answer is None or answer[0] == 7 or peer.read_pdu() is not None


def test_disk_below_the_reserve_is_answered_before_anything_is_written(
    listen: ListenerFactory, stored: Callable[[], Stored]
) -> None:
    with listen() as listener, RawPeer(listener.port) as peer:
        spool = listener._committer.spool
        peer.associate()
        spool.min_free_bytes = 2**62
        assert peer.store(BYTES) == OUT_OF_RESOURCES
        assert not stored().files and not stored().leftovers
        spool.min_free_bytes = 0
        assert peer.store(BYTES) == SUCCESS
        peer.release()
        assert listener.counts.totals() == {"DISK_FULL": 1}
    assert set(stored().files) == {sha256(BYTES)}
    assert [one for one in stored().records if one["kind"] == "count"] == [
        {"kind": "count", "name": "DISK_FULL", "n": 1}
    ]


def test_long_streams_of_data_pdus(listen: ListenerFactory, stored: Callable[[], Stored]) -> None:
    content = bytes(range(251)) * 40_000
    with listen() as listener, RawPeer(listener.port) as peer:
        peer.associate()
        peer.send(REQUEST, *data_pdus(content, size=131_066))
        assert peer.status() == SUCCESS
        peer.release()
    assert set(stored().files) == {sha256(content)}
