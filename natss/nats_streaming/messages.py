"""The three messages of the hot path, bytes in, values out. Pure.

A PubMsg and an Ack begin with what stays the same for a channel; a "head" is that part, made once
by protobuf, and the rest is appended to it, which the encoding allows. Tests compare each with
what protobuf makes and reads.
"""

from natss.nats_streaming.protocol_pb2 import Ack, MsgProto, PubAck, PubMsg

GUID_LENGTH = 22

_GUID_TAG = b"\x12" + bytes([GUID_LENGTH])
_DATA_TAG = b"\x2a"
_SEQUENCE_TAG = b"\x10"

_PUBACK_START = b"\x0a" + bytes([GUID_LENGTH])
_PUBACK_LENGTH = len(_PUBACK_START) + GUID_LENGTH

_ONE_BYTE = [bytes([n]) for n in range(128)]


def varint(number: int) -> bytes:
    """Return a number of 0 or more as protobuf writes it."""
    if number < 128:
        return _ONE_BYTE[number]
    if number < 16384:
        return bytes((number & 127 | 128, number >> 7))
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def publish_head(client_id: str, conn_id: str, channel: str) -> bytes:
    """Return what all messages of one session to one channel have in common."""
    return PubMsg(
        client_id=client_id, conn_id=conn_id.encode(), subject=channel
    ).SerializeToString()


def pack_publish(head: bytes, guid: bytes, data: bytes) -> bytes:
    """Return a PubMsg; the guid has GUID_LENGTH bytes."""
    return b"%b%b%b%b%b%b" % (head, _GUID_TAG, guid, _DATA_TAG, varint(len(data)), data)


def read_puback(data: bytes) -> tuple[bytes, str]:
    """Return the guid and the error, which is empty if the message is stored.

    Raises:
        google.protobuf.message.DecodeError: it is no PubAck.
    """
    if len(data) == _PUBACK_LENGTH and data.startswith(_PUBACK_START):
        return data[2:], ""
    answer = PubAck.FromString(data)
    return answer.guid.encode(), answer.error


def ack_head(channel: str) -> bytes:
    """Return what all acks of one channel have in common."""
    return Ack(subject=channel).SerializeToString()


def pack_ack(head: bytes, sequence: int) -> bytes:
    return head + _SEQUENCE_TAG + varint(sequence)


read_message = MsgProto.FromString
"""Reads a delivered message; raises google.protobuf.message.DecodeError."""
