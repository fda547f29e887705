"""Real senders: DCMTK's tools and pynetdicom, several at once, every kind of object."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, AllTransferSyntaxes, CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts

from dicom_node.part10 import ObjectIdentity, canonical_header, split_header
from dicom_node.receive import SUCCESS
from tests.bench.cstore import make_instances
from tests.peers.dcmtk import echoscu, start_storescu, storescu
from tests.peers.raw_dicom import CT, RawPeer, store_rq
from tests.peers.receiver import receiver
from tests.receive.conftest import ListenerFactory, Stored

MB = 1_000_000


def object_of(path: Path) -> tuple[str, bytes]:
    """Name and content that a DICOM file has in the spool."""
    content = path.read_bytes()
    identity, offset = split_header(content)
    canonical = canonical_header(identity) + content[offset:]
    return hashlib.sha256(canonical).hexdigest(), canonical


@pytest.mark.dcmtk
def test_storescu_and_echoscu(listen: ListenerFactory, stored: Callable[[], Stored], tmp_path: Path) -> None:
    paths = make_instances(tmp_path / "ct", 12)
    with listen() as listener:
        assert echoscu(listener.port).returncode == 0
        sent = storescu(listener.port, paths, "-xe")
        assert sent.returncode == 0, sent.stdout
        senders = [start_storescu(listener.port, paths[n::4], "-xe", calling=f"S{n}") for n in range(4)]
        assert [sender.communicate() and sender.returncode for sender in senders] == [0] * 4
        assert echoscu(listener.port, called="ELSEWHERE").returncode != 0
    spool = stored()
    spool.check()
    assert spool.files == dict(map(object_of, paths))
    assert len(spool.instances) == 24
    assert {one["calling_ae"] for one in spool.instances} == {"STORESCU", "S0", "S1", "S2", "S3"}
    assert spool.ends == ["released"] * 5


@pytest.mark.dcmtk
@pytest.mark.parametrize("options", [("--abort",), ("--max-send-pdu", "4096"), ("--repeat", "3")])
def test_storescu_in_other_moods(
    listen: ListenerFactory, stored: Callable[[], Stored], tmp_path: Path, options: tuple[str, ...]
) -> None:
    paths = make_instances(tmp_path / "ct", 3)
    with listen() as listener:
        storescu(listener.port, paths, "-xe", *options)
    stored().check()
    assert stored().files == dict(map(object_of, paths))
    assert set(stored().ends) == {"aborted" if "--abort" in options else "released"}


@pytest.mark.data
@pytest.mark.dcmtk
def test_real_series_keep_their_bytes(listen: ListenerFactory, stored: Callable[[], Stored], data_folder: Path) -> None:
    series = sorted(
        path for path in (data_folder / "dicom").rglob("*") if path.suffix in (".dcm", "") and path.is_file()
    )
    paths = [path for path in series if path.read_bytes()[128:132] == b"DICM"][:40]
    assert paths
    with listen() as listener:
        # Every file in the transfer syntax it has: storescu would convert between the uncompressed ones.
        ae = AE("SENDER")
        identities = {path: split_header(path.read_bytes())[0] for path in paths}
        for pair in {(one.sop_class_uid, one.transfer_syntax_uid) for one in identities.values()}:
            ae.add_requested_context(*pair)
        association = ae.associate("127.0.0.1", listener.port, ae_title="MEDREID")
        assert all(association.send_c_store(path).Status == SUCCESS for path in paths)
        association.release()
    stored().check()
    assert {one["sop_instance_uid"] for one in stored().instances} == {
        one.sop_instance_uid for one in identities.values()
    }


def test_pynetdicom_offers_every_storage_class(listen: ListenerFactory) -> None:
    with listen() as listener:
        for start in range(0, len(AllStoragePresentationContexts), 120):
            ae = AE("SENDER")
            ae.requested_contexts = AllStoragePresentationContexts[start : start + 120]
            ae.add_requested_context("1.2.840.10008.1.1")
            association = ae.associate("127.0.0.1", listener.port, ae_title="MEDREID")
            assert association.is_established
            assert not association.rejected_contexts
            assert association.send_c_echo().Status == SUCCESS
            association.release()
            assert association.is_released


@pytest.mark.parametrize("syntax", [*AllTransferSyntaxes, UID("1.2.840.10008.1.2.99999"), UID("1.3.6.1.4.1.99999.7")])
def test_every_transfer_syntax_is_kept_undecoded(every_syntax: tuple[int, Callable[[], Stored]], syntax: UID) -> None:
    port, stored = every_syntax
    data = b"\x08\x00\x18\x00whatever " + syntax.encode() * 50
    with RawPeer(port) as peer:
        assert peer.associate([(1, CT, [syntax])]) == 2
        assert peer.store(data, store_rq(CT, syntax)) == SUCCESS
        peer.release()
    header = canonical_header(ObjectIdentity(CT, str(syntax), str(syntax)))
    assert stored().files[hashlib.sha256(header + data).hexdigest()] == header + data


@pytest.fixture(scope="module")
def every_syntax(tmp_path_factory: pytest.TempPathFactory) -> object:
    home = tmp_path_factory.mktemp("every_syntax")
    with receiver(home) as ours:
        yield ours.port, lambda: Stored(home / "spool")


def test_what_pydicom_reads_back_is_what_was_sent(listen: ListenerFactory, stored: Callable[[], Stored]) -> None:
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, "2.25.77"
    image.SpecificCharacterSet, image.PatientName = "ISO_IR 192", "ФАНТОМ^0001"
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    with listen() as listener:
        ae = AE("SENDER")
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        association = ae.associate("127.0.0.1", listener.port, ae_title="MEDREID")
        assert association.send_c_store(image).Status == SUCCESS
        association.release()
    (content,) = stored().files.values()
    assert dcmread(BytesIO(content)) == image
    file = BytesIO()
    image.save_as(file, enforce_file_format=True)
    assert content[split_header(content)[1] :] == file.getvalue()[split_header(file.getvalue())[1] :]


@pytest.mark.dcmtk
@pytest.mark.slow
def test_memory_stays_flat_while_instances_pass(tmp_path: Path) -> None:
    paths = make_instances(tmp_path / "ct", 60)
    with receiver(tmp_path / "home") as ours:
        assert storescu(ours.port, paths, "-xe").returncode == 0
        before = ours.memory("VmHWM")
        senders = [start_storescu(ours.port, paths, "-xe", "--repeat", "2") for _ in range(4)]
        assert [sender.communicate() and sender.returncode for sender in senders] == [0] * 4
        assert ours.memory("VmHWM") < 200 * MB
        assert ours.memory("VmHWM") - before < 30 * MB
        assert ours.terminate() == 0
