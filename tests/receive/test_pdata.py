"""Our own reader and writer of P-DATA against pynetdicom's, whatever the fragmentation."""

from __future__ import annotations

import socket
import threading
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import P_DATA_TF

from dicom_node.pdata import (
    AFFECTED_SOP_INSTANCE_UID,
    COMMAND_FIELD,
    MESSAGE_ID,
    STATUS,
    ConnectionLostError,
    Fragment,
    OtherPduError,
    PDataStream,
    ProtocolError,
    decode_command,
    encode_command_pdus,
    encode_store_response,
    us_value,
)
from tests.peers.raw_dicom import element, p_data, pdu, pdv, store_rq

uid_values = st.from_regex(r"[12]\.[1-9][0-9]{0,20}(\.[1-9][0-9]{0,8}){0,3}", fullmatch=True)
fragment_sizes = st.lists(st.integers(0, 40), min_size=1, max_size=12)


def feed(data: bytes, max_pdu_length: int = 16_384) -> PDataStream:
    """A stream that reads ``data`` and then finds the connection closed."""
    ours, theirs = socket.socketpair()

    def send() -> None:
        with theirs:
            theirs.sendall(data)

    threading.Thread(target=send).start()
    ours.settimeout(None)
    stream = PDataStream(ours, max_pdu_length)
    stream.socket_for_test = ours  # type: ignore[attr-defined]  # closed with the stream
    return stream


def close(stream: PDataStream) -> None:
    stream.socket_for_test.close()  # type: ignore[attr-defined]


def take(stream: PDataStream, room: int = 7) -> bytes:
    """All data of the present PDV, read through a buffer of ``room`` bytes."""
    data, buffer = b"", memoryview(bytearray(room))
    while stream.fragment_left:
        count = stream.read_into(buffer)
        assert 0 < count <= room
        data += buffer[:count]
    assert stream.read_into(buffer) == 0
    return data


def read_all(stream: PDataStream) -> list[tuple[int, bool, bool, bytes]]:
    found = []
    with pytest.raises(ConnectionLostError):
        while True:
            fragment = stream.next_fragment()
            found.append((fragment.context_id, fragment.is_command, fragment.is_last, take(stream)))
    close(stream)
    return found


@settings(deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=60)), min_size=1)))
def test_fragments_are_those_that_pynetdicom_finds(pdus: list[list[tuple[int, int, bytes]]]) -> None:
    encoded = [p_data(*(pdv(*one) for one in items)) for items in pdus]
    expected = []
    for one in encoded:
        decoded = P_DATA_TF()
        decoded.decode(one)
        for item in decoded.presentation_data_value_items:
            value = item.presentation_data_value
            assert value is not None
            expected.append((item.presentation_context_id, bool(value[0] & 1), bool(value[0] & 2), value[1:]))
    assert read_all(feed(b"".join(encoded))) == expected


@settings(deadline=None)
@given(uid_values, uid_values, st.integers(0, 65535), st.integers(14, 200), st.binary(min_size=2, max_size=500))
def test_a_store_request_of_pynetdicom_arrives_whole(
    sop_class: str, sop_instance: str, message_id: int, max_pdu: int, data: bytes
) -> None:
    primitive = C_STORE()
    primitive.MessageID = message_id
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = UID(sop_class), UID(sop_instance)
    primitive.Priority = 2
    primitive.DataSet = BytesIO(data)
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    encoded = b"".join(P_DATA_TF(one).encode() for one in message.encode_msg(5, max_pdu))
    fragments = read_all(feed(encoded))
    command = decode_command(b"".join(part for _, is_command, _, part in fragments if is_command))
    assert us_value(command, COMMAND_FIELD) == 1
    assert us_value(command, MESSAGE_ID) == message_id
    assert command[AFFECTED_SOP_INSTANCE_UID].rstrip(b"\0").decode() == sop_instance
    assert b"".join(part for _, is_command, _, part in fragments if not is_command) == data
    assert {context for context, *_ in fragments} == {5}
    assert [last for *_, last, _ in fragments].count(True) == 2


@given(
    st.dictionaries(
        st.sampled_from(["AffectedSOPClassUID", "CommandField", "MessageID", "Priority", "Status", "ErrorComment"]),
        st.integers(0, 65535),
    )
)
def test_command_sets_decode_as_by_pynetdicom(chosen: dict[str, int]) -> None:
    command = Dataset()
    for keyword, number in chosen.items():
        text = keyword in ("AffectedSOPClassUID", "ErrorComment")
        setattr(command, keyword, f"1.{number}" if text else number)
    encoded = encode(command, True, True) or b""
    expected = decode(BytesIO(encoded), True, True)
    ours = decode_command(encoded)
    assert set(ours) == {one.tag.element for one in expected}
    for one in expected:
        value = ours[one.tag.element]
        if one.VR == "US":
            assert us_value(ours, one.tag.element) == one.value
        else:
            assert value.rstrip(b"\0 ").decode() == str(one.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_set_or_a_protocol_error(encoded: bytes) -> None:
    try:
        values = decode_command(encoded)
    except ProtocolError:
        return
    assert sum(8 + len(value) for value in values.values()) == len(encoded)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_end_in_a_named_way(data: bytes) -> None:
    stream = feed(data, max_pdu_length=64)
    with pytest.raises((ProtocolError, ConnectionLostError, OtherPduError)):
        while True:
            stream.next_fragment()
            assert len(take(stream)) <= 64
    close(stream)


@given(uid_values, uid_values, st.integers(0, 65535), st.sampled_from([0, 0xA700, 0xA900, 0xC000, 0x0110]))
def test_pynetdicom_reads_our_response(sop_class: str, sop_instance: str, message_id: int, status: int) -> None:
    request = decode_command(store_rq(sop_class, sop_instance, message_id))
    encoded = encode_store_response(request, status)
    decoded = decode(BytesIO(encoded), True, True)
    assert decoded.CommandGroupLength == len(encoded) - 12
    assert [one.tag for one in decoded] == sorted(one.tag for one in decoded)
    message = DIMSEMessage()
    data = P_DATA_TF()
    data.decode(encode_command_pdus(3, encoded, 0))
    assert message.decode_msg(data.to_primitive())
    assert isinstance(message, C_STORE_RSP)
    primitive = message.message_to_primitive()
    assert isinstance(primitive, C_STORE)
    assert primitive.Status == status
    assert primitive.MessageIDBeingRespondedTo == message_id
    assert primitive.AffectedSOPInstanceUID == sop_instance
    assert us_value(decode_command(encoded), STATUS) == status


@given(st.binary(min_size=1, max_size=400), st.integers(0, 100))
def test_responses_keep_to_the_peers_pdu_length(command: bytes, max_pdu_length: int) -> None:
    encoded = encode_command_pdus(1, command, max_pdu_length)
    joined = b""
    while encoded:
        length = int.from_bytes(encoded[2:6], "big")
        assert length <= max(max_pdu_length, 7) or max_pdu_length == 0
        one, encoded = encoded[: 6 + length], encoded[6 + length :]
        decoded = P_DATA_TF()
        decoded.decode(one)
        (item,) = decoded.presentation_data_value_items
        value = item.presentation_data_value
        assert value is not None
        assert value[0] == (3 if not encoded else 1)
        joined += value[1:]
    assert joined == command


@settings(deadline=None)
@given(st.binary(max_size=200), fragment_sizes)
def test_a_record_is_what_came(data: bytes, sizes: list[int]) -> None:
    pdus = [p_data(pdv(1, 1, data[:size]), pdv(1, 3, data)) for size in sizes]
    stream = feed(b"".join(pdus))
    for one in pdus:
        stream.start_record()
        for _ in range(2):
            stream.next_fragment()
            take(stream)
        assert bytes(stream.record or b"") == one
    close(stream)


def test_a_record_that_begins_inside_a_pdu_is_a_pdu_of_its_own() -> None:
    stream = feed(p_data(pdv(1, 2, b"end of data"), pdv(1, 3, b"command")))
    assert stream.next_fragment() == Fragment(1, False, True, 11)
    take(stream)
    assert stream.inside_pdu
    stream.start_record()
    stream.next_fragment()
    take(stream)
    assert bytes(stream.record or b"") == p_data(pdv(1, 3, b"command"))
    close(stream)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (p_data(), "PDV_LENGTH"),
        (p_data(b"\0\0\0"), "PDV_LENGTH"),
        (p_data(pdv(1, 0, b"", length=0)), "PDV_LENGTH"),
        (p_data(pdv(1, 0, b"", length=1)), "PDV_LENGTH"),
        (p_data(pdv(1, 0, b"abc", length=6)), "PDV_LENGTH"),
        (p_data(pdv(1, 0, b"abc", length=2**32 - 1)), "PDV_LENGTH"),
        (p_data(pdv(1, 0, b"abc"), b"x"), "PDV_LENGTH"),
        (p_data(pdv(1, 0, b"x" * 100)), "PDU_TOO_LONG"),
        (pdu(4, b"", length=2**32 - 1), "PDU_TOO_LONG"),
    ],
)
def test_lengths_that_lie_are_named(data: bytes, name: str) -> None:
    stream = feed(data, max_pdu_length=64)
    with pytest.raises(ProtocolError) as caught:
        while True:
            stream.next_fragment()
            take(stream)
    assert caught.value.name == name
    close(stream)


def test_what_was_read_of_another_pdu_is_given_back() -> None:
    stream = feed(pdu(5, b"\0\0\0\0"))
    with pytest.raises(OtherPduError) as caught:
        stream.next_fragment()
    assert len(caught.value.start) >= 6
    assert pdu(5, b"\0\0\0\0").startswith(caught.value.start)
    close(stream)


@pytest.mark.parametrize(
    "encoded",
    [
        element(0x0100, b"\1\0")[:-1],
        element(0x0100, b"\1\0") * 2,
        b"\x08\0" + element(0x0018, b"1.2")[2:],
        element(0x0100, b"\1\0") + b"\0",
    ],
    ids=["torn", "twice", "another group", "a byte too many"],
)
def test_what_is_no_command_set(encoded: bytes) -> None:
    with pytest.raises(ProtocolError, match="COMMAND_SET"):
        decode_command(encoded)
