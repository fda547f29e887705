"""The door: who never becomes an association, who is rejected, and who gets in beside them all."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import resource
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from config.errors import ConfigError
from dicom_node.guard import MAX_ASSOCIATE_BYTES, AllowedHosts
from dicom_node.receive import SUCCESS
from tests.peers.dcmtk import echoscu
from tests.peers.raw_dicom import (
    CT,
    EXPLICIT_LE,
    RELEASE_RQ,
    RawPeer,
    associate_rq,
    data_pdus,
    p_data,
    pdu,
    pdv,
    store_rq,
)
from tests.peers.receiver import receiver
from tests.receive.conftest import ListenerFactory, Stored, make_settings, wait_for

MB = 1_000_000


def send_one(port: int) -> None:
    with RawPeer(port) as peer:
        assert peer.associate() == 2
        assert peer.store(bytes(500_000)) == SUCCESS
        peer.release()


@pytest.mark.parametrize("length", [600 * MB, 2**31 - 1, 2**32 - 1])
@pytest.mark.parametrize("kind", [1, 4])
def test_a_600_mb_pdu_costs_the_peer_its_connection_and_us_nothing(tmp_path: Path, kind: int, length: int) -> None:
    with receiver(tmp_path) as ours:
        send_one(ours.port)
        before = ours.memory()
        for _ in range(3):
            with RawPeer(ours.port) as peer:
                if kind == 4:
                    assert peer.associate() == 2
                with contextlib.suppress(ConnectionError):
                    peer.send(pdu(kind, bytes(3 * MB), length))
                peer.expect_abort()
        assert ours.memory("VmHWM") - before < 30 * MB
        send_one(ours.port)


def test_600_connects_that_close(tmp_path: Path) -> None:
    with receiver(tmp_path) as ours:
        send_one(ours.port)
        before, threads = ours.memory(), ours.threads()
        for _ in range(600):
            socket.create_connection(("127.0.0.1", ours.port)).close()
        send_one(ours.port)
        assert ours.memory() - before < 30 * MB
        wait_for(lambda: ours.threads() <= threads)


def test_60_idle_sockets_beside_a_real_sender(listen: ListenerFactory) -> None:
    with listen(FIRST_BYTE_TIMEOUT="30") as listener, contextlib.ExitStack() as idle:
        for _ in range(60):
            idle.enter_context(socket.create_connection(("127.0.0.1", listener.port)))
        send_one(listener.port)


def test_a_full_waiting_room_gives_way_to_who_speaks(listen: ListenerFactory) -> None:
    with listen(FIRST_BYTE_TIMEOUT="30", MAX_WAITING_SOCKETS="4") as listener, contextlib.ExitStack() as idle:
        waiting = [idle.enter_context(socket.create_connection(("127.0.0.1", listener.port))) for _ in range(12)]
        send_one(listener.port)
        assert listener.counts.totals()["WAITING_ROOM_FULL"] == 9
        waiting[0].settimeout(20)
        assert waiting[0].recv(1) == b"", "who waited longest had to go"


SILENT_OR_FOREIGN = {
    "silence": (b"", "SILENT_SOCKET"),
    "half a header": (b"\x01\0\0", "SILENT_SOCKET"),
    "HTTP": (b"GET / HTTP/1.1\r\n\r\n", "NOT_DICOM"),
    "TLS": (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", "NOT_DICOM"),
    "P-DATA first": (p_data(pdv(1, 3, b"")), "NOT_DICOM"),
    "tiny request": (pdu(1, b"tiny"), "NOT_DICOM"),
    "huge request": (pdu(1, b"", MAX_ASSOCIATE_BYTES + 1), "PDU_TOO_LONG"),
    "request that never ends": (associate_rq([(1, CT, [EXPLICIT_LE])])[:100], "SILENT_SOCKET"),
}


@pytest.mark.parametrize("case", SILENT_OR_FOREIGN)
def test_what_does_not_ask_for_an_association_is_hung_up_on(listen: ListenerFactory, case: str) -> None:
    data, name = SILENT_OR_FOREIGN[case]
    with listen(FIRST_BYTE_TIMEOUT="0.3", NETWORK_TIMEOUT="0.3") as listener:
        with RawPeer(listener.port) as peer:
            peer.send(data)
            assert peer.read(1) == b""
        assert listener.counts.totals() == {name: 1}


def test_a_request_that_makes_no_sense_inside_is_no_harm(listen: ListenerFactory) -> None:
    requests = [pdu(1, b"\0\1" + bytes(66) + bytes([kind]) * 300) for kind in (0, 0x10, 0x20, 0x50, 0xFF)]
    requests += [pdu(1, associate_rq([(1, CT, [EXPLICIT_LE])])[6:cut]) for cut in range(80, 200, 7)]
    with listen() as listener:
        for request in requests:
            with RawPeer(listener.port) as peer:
                peer.send(request)
                answer = peer.read_pdu()
                assert answer is None or answer[0] in (2, 3, 7)
        send_one(listener.port)


@pytest.mark.parametrize(
    ("settings", "called", "counted"),
    [
        ({"ALLOWED_HOSTS": '["10.0.0.0/8", "192.168.1.7"]'}, "MEDREID", "HOST_REFUSED"),
        ({"ALLOWED_CALLING_AE_TITLES": '["CT1", "CT2"]'}, "MEDREID", "CALLING_AE_REFUSED"),
        ({}, "OTHER", "CALLED_AE_REFUSED"),
    ],
)
def test_refused_peers_are_rejected_never_accepted(
    listen: ListenerFactory, stored: Callable[[], Stored], settings: dict[str, str], called: str, counted: str
) -> None:
    with listen(**settings) as listener:
        with RawPeer(listener.port) as peer:
            assert peer.associate(called=called) == 3
            peer.send(p_data(pdv(1, 3, store_rq())), *data_pdus(b"refused"))
            with contextlib.suppress(ConnectionError):
                assert peer.read_pdu() is None
        wait_for(lambda: listener.counts.totals().get(counted) == 1)
    assert not stored().files
    assert {"kind": "count", "name": counted, "n": 1} in stored().records


@pytest.mark.parametrize(
    ("settings", "called"),
    [
        ({"ALLOWED_HOSTS": '["127.0.0.0/8"]', "ALLOWED_CALLING_AE_TITLES": '["CT1", "RAW"]'}, "MEDREID"),
        ({"CHECK_CALLED_AE_TITLE": "false"}, "ANYTHING"),
    ],
)
def test_allowed_peers_get_in(listen: ListenerFactory, settings: dict[str, str], called: str) -> None:
    with listen(**settings) as listener, RawPeer(listener.port) as peer:
        assert peer.associate(called=called) == 2
        assert peer.store(b"data") == SUCCESS
        peer.release()


def test_too_many_associations_are_rejected_for_now(listen: ListenerFactory) -> None:
    with listen(MAX_ASSOCIATIONS="2") as listener:
        with RawPeer(listener.port) as one, RawPeer(listener.port) as two, RawPeer(listener.port) as three:
            assert (one.associate(), two.associate()) == (2, 2)
            assert three.associate() == 3
            assert three.answer == b"\0\x02\x03\x02", "rejected, transient, local limit exceeded"
            one.release()
            two.release()
        wait_for(lambda: not listener._present())
        send_one(listener.port)
        assert listener.counts.totals() == {"TOO_MANY_ASSOCIATIONS": 1}


def test_a_stall_inside_a_pdu_is_closed_after_the_network_timeout(listen: ListenerFactory) -> None:
    with listen(NETWORK_TIMEOUT="0.4") as listener:
        with RawPeer(listener.port) as peer:
            peer.associate()
            peer.send(p_data(pdv(1, 3, store_rq())), p_data(pdv(1, 2, bytes(5000)))[:1000])
            peer.expect_abort()
        wait_for(lambda: listener.counts.totals() == {"STALLED": 1})
        send_one(listener.port)


def test_silence_between_messages_is_aborted_after_the_network_timeout(listen: ListenerFactory) -> None:
    with listen(NETWORK_TIMEOUT="0.4") as listener, RawPeer(listener.port) as peer:
        peer.associate()
        assert peer.store(b"data") == SUCCESS
        peer.expect_abort()
        assert listener.counts.totals() == {"SILENT_ASSOCIATION": 1}


def test_descriptors_beyond_1023_are_served(listen: ListenerFactory) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= 1600, "raise the hard limit of open files (ulimit -Hn) to 1600 for this test"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1600), hard))
    try:
        with contextlib.ExitStack() as many, listen() as listener:
            for _ in range(1100):
                many.enter_context(socket.socket())
            send_one(listener.port)
            if subprocess.run(["sh", "-c", "command -v echoscu"], capture_output=True, check=False).returncode == 0:
                assert echoscu(listener.port).returncode == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_allowed_hosts_are_addresses_and_networks() -> None:
    hosts = AllowedHosts(["10.1.0.0/16", "192.168.1.7", "fe80::/10", "::1"])
    assert all(one in hosts for one in ("10.1.2.3", "192.168.1.7", "::ffff:10.1.2.3", "fe80::1%eth0", "::1"))
    assert not any(one in hosts for one in ("10.2.0.1", "192.168.1.8", "::2"))
    assert "203.0.113.9" in AllowedHosts([])
    with pytest.raises(ConfigError, match=r"pacs\.example"):
        AllowedHosts(["pacs.example"])


def test_a_port_in_use_says_what_to_do(listen: ListenerFactory) -> None:
    with listen() as listener, pytest.raises(ConfigError, match="cannot listen"), listen_again(listener.port):
        pass


@contextlib.contextmanager
def listen_again(port: int) -> Iterator[None]:
    from tempfile import TemporaryDirectory

    from dicom_node.listener import Listener
    from dicom_node.spool import Spool

    with TemporaryDirectory() as folder:
        settings = make_settings(Path(folder), PORT=str(port))
        with Listener(settings, Spool(settings.spool_folder, 0)):
            yield


# --- TLS


@dataclass(frozen=True)
class Certificate:
    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    folder: Path
    name: x509.Name
    key: ec.EllipticCurvePrivateKey
    file: Path

    def issue(self, name: str) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        alternatives = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            _builder(subject, self.name, key.public_key())
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return _write(self.folder, name, certificate, key)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


def _write(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Certificate:
    files = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    certificate = (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(tmp_path, name, key, _write(tmp_path, "authority", certificate, key).certificate)


def client_context(authority: Authority, own: Certificate | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.file))
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context


def tls_settings(server: Certificate) -> dict[str, str]:
    return {"TLS_CERTIFICATE_FILE": str(server.certificate), "TLS_KEY_FILE": str(server.key)}


def test_the_data_path_works_over_tls(
    listen: ListenerFactory, stored: Callable[[], Stored], authority: Authority
) -> None:
    content = bytes(range(256)) * 4000
    server, context = tls_settings(authority.issue("server")), client_context(authority)
    with listen(**server) as listener, RawPeer(listener.port, tls=context) as peer:
        assert peer.associate() == 2
        for number in range(3):
            assert peer.store(content, store_rq(sop_instance=f"1.{number}")) == SUCCESS
        peer.send(RELEASE_RQ)
        answer = peer.read_pdu()
        assert answer is not None and answer[0] == 6
    stored().check()
    assert len(stored().files) == 3
    assert stored().ends == ["released"]


def test_tls_versions_before_1_2_and_plain_dicom_are_refused(listen: ListenerFactory, authority: Authority) -> None:
    with listen(**tls_settings(authority.issue("server"))) as listener:
        with RawPeer(listener.port) as peer:
            peer.send(associate_rq([(1, CT, [EXPLICIT_LE])]))
            answer = peer.read(10)
            assert answer[:1] != b"\x02"
        old = client_context(authority)
        with pytest.warns(DeprecationWarning):
            old.minimum_version = ssl.TLSVersion.TLSv1_1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            RawPeer(listener.port, tls=old)
        wait_for(lambda: listener.counts.totals() == {"TLS_REFUSED": 2})


def test_mutual_tls_admits_only_certified_peers(listen: ListenerFactory, authority: Authority) -> None:
    settings = tls_settings(authority.issue("server")) | {"TLS_CA_FILE": str(authority.file)}
    with listen(**settings) as listener:
        nameless = client_context(authority)
        refused = pytest.raises((ssl.SSLError, ConnectionError, AssertionError))
        with refused, RawPeer(listener.port, tls=nameless) as peer:
            peer.associate()
        own = client_context(authority, authority.issue("modality"))
        with RawPeer(listener.port, tls=own) as peer:
            assert peer.associate() == 2
            assert peer.store(b"data") == SUCCESS
        assert listener.counts.totals()["TLS_REFUSED"] == 1


def test_a_handshake_that_never_ends_holds_nobody_up(listen: ListenerFactory, authority: Authority) -> None:
    server = tls_settings(authority.issue("server"))
    with listen(FIRST_BYTE_TIMEOUT="0.5", **server) as listener, RawPeer(listener.port) as silent:
        silent.send(b"\x16\x03\x01")
        with RawPeer(listener.port, tls=client_context(authority)) as peer:
            assert peer.associate() == 2
            assert peer.store(b"data") == SUCCESS
        silent.read(10)
        wait_for(lambda: "SILENT_SOCKET" in listener.counts.totals())


@pytest.mark.parametrize("broken", ["certificate", "key", "ca", "no certificate"])
def test_unusable_tls_files_are_named(tmp_path: Path, authority: Authority, broken: str) -> None:
    from dicom_node.tls import server_context

    values = tls_settings(authority.issue("server")) | {"TLS_CA_FILE": str(authority.file)}
    if broken == "no certificate":
        values["TLS_CERTIFICATE_FILE"] = ""
    else:
        field = {"certificate": "TLS_CERTIFICATE_FILE", "key": "TLS_KEY_FILE", "ca": "TLS_CA_FILE"}[broken]
        values[field] = str(tmp_path / "absent.pem")
    with pytest.raises(ConfigError, match="tls_"):
        server_context(make_settings(tmp_path, **values).dicom)
