#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Sends a kvrail server what nobody should: noise, truncated and lying datagrams, frames with
wrong IP and UDP lengths. Prints one JSON object of what it sent and got back.

usage: hostile.py INTERFACE SERVER_IPV4 SERVER_MAC OWN_IPV4 PORT
"""
import json
import random
import socket
import struct
import sys

MAGIC, VERSION, REQUEST = 0x3152564B, 1, 1
HEADER = struct.Struct("<IBBBBHBBIQQQIIIHH")
OPS = {"HELLO": 1, "PING": 2, "GET": 3, "PUT": 4, "RESERVE": 5, "WRITE": 6, "COMMIT": 7,
       "ABORT": 8, "MATCH": 9, "DEL": 10, "TOUCH": 11, "HINT": 12, "STAT": 13}


def crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


class Datagram:
    """A request; fields can be made to lie before it is packed with a right CRC."""

    next_id = 1

    def __init__(self, records, **fields):
        Datagram.next_id += 1
        self.records = records
        self.fields = {"magic": MAGIC, "version": VERSION, "kind": REQUEST, "status": 0,
                       "priority": 2, "len": None, "nr_ops": len(records), "reply_max": 0,
                       "crc": None, "id": Datagram.next_id, "session": 0x1234567, "cookie": 0,
                       "deadline_us": 0, "seq": 0, "floor": 0, "tenant": 0, "partition": 0}
        self.fields.update(fields)

    def bytes(self):
        body = b"".join(self.records)
        fields = dict(self.fields)
        if fields["len"] is None:
            fields["len"] = HEADER.size + len(body)
        wanted, fields["crc"] = fields["crc"], 0
        packed = HEADER.pack(*fields.values()) + body
        crc = crc32c(packed) if wanted is None else wanted
        return packed[:12] + struct.pack("<I", crc) + packed[16:]


def record(op, body=b"", key=b"", idx=0, flags=0, size=None, key_len=None):
    body = body + key
    body += bytes(-len(body) % 8)
    size = 8 + len(body) if size is None else size
    return struct.pack("<BBBBHH", op, idx, flags, 0, size & 0xFFFF,
                       (len(key) if key_len is None else key_len) & 0xFFFF) + body


def fixed_parts():
    """A well-formed record of every operation."""
    key, hint = b"a key", bytes(24)
    value = b"value---"
    put = struct.pack("<IIIHHII", len(value), crc32c(value), 0, 0, 0, 0, 0) + hint
    reserve = struct.pack("<IIIHHII", 100000, 0, 0, 0, 0, 1024, 0) + hint
    return {
        "HELLO": record(1, struct.pack("<HHI", 1, 1, 1452) + bytes(112)),
        "PING": record(2, struct.pack("<QQ", 7, 0)),
        "GET": record(3, struct.pack("<IIIHHIIQ", 0, 0, 0, 1, 0, 0, 1 << 20, 0), key),
        "PUT": record(4, put, key + bytes(3) + value, key_len=len(key)),
        "RESERVE": record(5, reserve, key),
        "WRITE": record(6, struct.pack("<QII", 1, 0, 16) + bytes(16)),
        "COMMIT": record(7, struct.pack("<QII", 1, 0, 100000)),
        "ABORT": record(8, struct.pack("<QII", 1, 0, 0)),
        "MATCH": record(9, struct.pack("<HHHH", 4, 8, 0, 0) + bytes(32)),
        "DEL": record(10, struct.pack("<QII", 0, 0, 0) + hint, key),
        "TOUCH": record(11, struct.pack("<QII", 0, 1000, 0) + hint, key),
        "HINT": record(12, struct.pack("<QII", 0, 0, 0) + hint, key),
        "STAT": record(13),
    }


class Sender:
    def __init__(self, server, port):
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.connect((server, port))
        self.udp.settimeout(0.2)
        self.sent = self.replies = 0

    def drain(self):
        total = 0
        self.udp.setblocking(False)
        try:
            while True:
                total += len(self.udp.recv(65536))
                self.replies += 1
        except (BlockingIOError, ConnectionError):
            pass
        self.udp.settimeout(0.2)
        return total

    def send(self, data):
        try:
            self.udp.send(data)
        except ConnectionError:
            self.udp.send(data)
        self.sent += 1

    def ask(self, data, tries=10):
        """Sends once, waits for what comes: (bytes, last reply)."""
        self.drain()
        self.send(data)
        total, last = 0, b""
        self.udp.settimeout(0.15)
        for _ in range(tries):
            try:
                last = self.udp.recv(65536)
            except (TimeoutError, ConnectionError):
                break
            total += len(last)
            self.replies += 1
        return total, last


def amplification(server, port, result):
    """Every operation from an address that has proven nothing."""
    worst = 0.0
    for name, data in fixed_parts().items():
        sender = Sender(server, port)
        for count in (1, 2, 8):
            records = [data[:1] + bytes([i]) + data[2:] for i in range(count)]
            request = Datagram(records, seq=1, floor=1).bytes()
            got, _ = sender.ask(request, 4)
            worst = max(worst, got / len(request))
            result["sent"] += 1
            result["replies"] += sender.replies
            sender.replies = 0
        result["unproven"][name] = round(worst, 3)
    result["worst_amplification"] = worst


def noise(sender, rng):
    for _ in range(1500):
        sender.send(rng.randbytes(rng.randrange(0, 1400)))
    for _ in range(500):
        sender.send(struct.pack("<IBB", MAGIC, VERSION, REQUEST) + rng.randbytes(rng.randrange(300)))


def lies(sender, rng, cookie):
    whole = fixed_parts()
    for length in range(0, 184, 3):
        sender.send(Datagram([whole["HELLO"]]).bytes()[:length])
    for field, values in {"magic": [0, 1], "version": [0, 2, 255], "kind": [0, 2, 9],
                          "status": [1], "priority": [5, 255], "len": [0, 55, 57, 65535],
                          "nr_ops": [0, 2, 33, 255], "reply_max": [1, 18], "crc": [0, 1],
                          "session": [0], "partition": [1, 64, 65535]}.items():
        for value in values:
            sender.send(Datagram([whole["PING"]], cookie=cookie, **{field: value}).bytes())
    for name, number in OPS.items():
        for size in (0, 1, 7, 8, 9, 16, 64, 65528, 65535):
            cut = whole[name][:4] + struct.pack("<H", size) + whole[name][6:]
            sender.send(Datagram([cut], cookie=cookie, seq=1, floor=1).bytes())
        for key_len in (1025, 4096, 65535):
            cut = whole[name][:6] + struct.pack("<H", key_len) + whole[name][8:]
            sender.send(Datagram([cut], cookie=cookie, seq=1, floor=1).bytes())
        # Right lengths and CRC, wrong insides.
        for turn in range(100):
            body = bytearray(whole[name])
            for _ in range(rng.randrange(1, 6)):
                body[rng.randrange(8, len(body)) if len(body) > 8 else 1] = rng.randrange(256)
            sender.send(Datagram([bytes(body)], cookie=cookie, seq=turn + 2, floor=1).bytes())
    for number in (0, 14, 100, 255):
        sender.send(Datagram([record(number, bytes(16))], cookie=cookie).bytes())


def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source, target, payload, protocol=17, length=None, fragment=0, options=b"", wrong=0):
    head = struct.pack("!BBHHHBBH4s4s", 0x45 + len(options) // 4, 0,
                       20 + len(options) + len(payload) if length is None else length, 1, fragment,
                       64, protocol, 0, source, target) + options
    return head[:10] + struct.pack("!H", checksum(head) ^ wrong) + head[12:] + payload


def udp(source, target, port, payload, length=None, wrong=0, source_port=4000):
    length = 8 + len(payload) if length is None else length
    segment = struct.pack("!HHHH", source_port, port, length & 0xFFFF, 0) + payload
    pseudo = source + target + struct.pack("!BBH", 0, 17, 8 + len(payload))
    total = checksum(pseudo + segment) or 0xFFFF
    return segment[:6] + struct.pack("!H", total ^ wrong) + segment[8:]


def frames(interface, server, mac, own, port, rng):
    """Raw frames whose Ethernet, IP and UDP parts contradict each other."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    raw.bind((interface, 0))
    target, source = socket.inet_aton(server), socket.inet_aton(own)
    here = raw.getsockname()[4]
    there = bytes.fromhex(mac.replace(":", ""))
    hello = Datagram([fixed_parts()["HELLO"]]).bytes()
    good = udp(source, target, port, hello)
    packets = [
        ipv4(source, target, good, wrong=0x5555),
        ipv4(source, target, good, length=19),
        ipv4(source, target, good, length=9000),
        ipv4(source, target, good, fragment=0x2000),
        ipv4(source, target, good, fragment=5),
        ipv4(source, target, good, options=bytes([1, 1, 1, 0])),
        ipv4(source, target, good, protocol=6),
        ipv4(source, target, udp(source, target, port, hello, length=7)),
        ipv4(source, target, udp(source, target, port, hello, length=9000)),
        ipv4(source, target, udp(source, target, port, hello, wrong=0x1111)),
        ipv4(source, target, udp(source, target, 9, hello)),
        ipv4(source, target, udp(source, target, port, hello, source_port=0)),
        ipv4(source, target, good[:4]),
        ipv4(source, target, b""),
    ]
    for claimed in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", server):
        sender = socket.inet_aton(claimed)
        packets.append(ipv4(sender, target, udp(sender, target, port, hello)))
    elsewhere = socket.inet_aton("10.96.0.77")
    packets.append(ipv4(source, elsewhere, udp(source, elsewhere, port, hello)))
    out = [there + here + b"\x08\x00" + packet for packet in packets]
    out += [(there + here + b"\x08\x00" + packets[0])[:cut] for cut in range(14, 60)]
    for version in (0x40, 0x41, 0x44, 0x4F, 0x60, 0xF0, 0x00):
        out.append(there + here + b"\x08\x00" + bytes([version]) + packets[0][1:])
    six = struct.pack("!IHBB", 6 << 28, len(good), 17, 64)
    ours, theirs = socket.inet_pton(socket.AF_INET6, "fd96::2"), socket.inet_pton(
        socket.AF_INET6, "fd96::1")
    for packet in (six + ours + theirs + good, six + ours + theirs + good[:3],
                   struct.pack("!IHBB", 6 << 28, 9000, 17, 64) + ours + theirs + good,
                   struct.pack("!IHBB", 6 << 28, len(good), 0, 64) + ours + theirs + good,
                   struct.pack("!IHBB", 6 << 28, len(good), 44, 64) + ours + theirs + good,
                   six + ours, six):
        out.append(there + here + b"\x86\xdd" + packet)
    for kind in (b"\x08\x06", b"\x88\xcc", b"\x81\x00", b"\x00\x10"):
        for length in (0, 3, 27, 28, 60):
            out.append(there + here + kind + rng.randbytes(length))
    sent = 0
    for frame in out:
        # The device refuses what is shorter than an Ethernet header.
        raw.send(frame)
        sent += 1
    for _ in range(500):
        frame = bytearray(there + here + b"\x08\x00" + ipv4(source, target, good))
        for _ in range(rng.randrange(1, 4)):
            frame[rng.randrange(12, 50)] = rng.randrange(256)
        raw.send(bytes(frame))
        sent += 1
    return sent


def main():
    interface, server, mac, own, port = sys.argv[1:6]
    port, rng = int(port), random.Random(1)
    result = {"sent": 0, "replies": 0, "unproven": {}}
    amplification(server, port, result)
    sender = Sender(server, port)
    noise(sender, rng)
    hello = Datagram([fixed_parts()["HELLO"]]).bytes()
    cookie = 0
    for _ in range(20):
        got, reply = sender.ask(hello, 1)
        if len(reply) >= HEADER.size:
            cookie = HEADER.unpack(reply[:HEADER.size])[11]
            break
    result["cookie"] = cookie != 0
    lies(sender, rng, cookie)
    sender.drain()
    result["sent"] += sender.sent + frames(interface, server, mac, own, port, rng)
    result["replies"] += sender.replies
    print(json.dumps(result))


if __name__ == "__main__":
    main()
