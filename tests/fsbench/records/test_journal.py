"""A journal keeps what was finished: of damaged bytes what is sound counts, and nothing unreadable is lost."""

from pathlib import Path

from fsbench.records.counts import to_frame
from fsbench.records.journal import Journal
from tests.fsbench.records.test_record import manifest, result, rows

ID = "ab" * 32


def journal_of(folder, episodes=4):
    writer = Journal(folder, ID).open()
    writer.add([result(i) for i in range(episodes)])
    writer.close()
    (file,) = folder.glob("part-*.jsonl")
    return file


def test_any_byte_of_the_header_may_be_damaged(tmp_path):
    folder = tmp_path / "evaluation"
    file = journal_of(folder)
    whole = file.read_bytes()
    header = whole.index(b"\n") + 1
    for place in (*range(0, header - 1, 5), header - 1):
        for byte in (0, ord("\n"), whole[place] ^ 1):
            file.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
            journal = Journal(folder, ID)
            lost = {0} if place == header - 1 and byte != ord("\n") else set()  # its line became the header's end
            assert journal.done() == {0, 1, 2, 3} - lost, (place, byte)
            journal.open().close()
            assert file.exists(), "a file that cannot be read is not another run's"
            for other in set(folder.glob("part-*.jsonl")) - {file}:
                other.unlink()


def test_a_journal_of_another_run_is_removed_unless_its_header_is_damaged(tmp_path):
    file, other = journal_of(tmp_path), Journal(tmp_path, "cd" * 32)
    whole = file.read_bytes()
    file.write_bytes(b"x" + whole[1:])
    assert other.done() == set() and len(other.damaged()) == 4
    other.open().close()
    assert file.exists()
    file.write_bytes(whole)
    assert Journal(tmp_path, "cd" * 32).done() == set()
    Journal(tmp_path, "cd" * 32).open().close()
    assert not file.exists()


def test_a_damaged_line_costs_its_own_episode_alone(tmp_path):
    file = journal_of(tmp_path)
    whole = file.read_bytes().split(b"\n")
    tp = whole[2].index(b'"tp": ') + 6
    for damaged in (whole[2][:40], b"\xff\x00" + whole[2][2:], whole[2][:tp] + b"9" + whole[2][tp:], b""):
        file.write_bytes(b"\n".join([*whole[:2], damaged, *whole[3:]]))
        journal = Journal(tmp_path, ID)
        assert journal.done() == {0, 2, 3} and journal.damaged() == [f"{file.name} line 3"]
        journal.open().add([result(1)])
        assert to_frame(journal.rows(), manifest(4)).equals(to_frame(rows(range(4)), manifest(4)))
        for other in set(tmp_path.glob("part-*.jsonl")) - {file}:
            other.unlink()


def test_a_journals_file_is_never_there_without_its_header(tmp_path, monkeypatch):
    """Another process that starts at the same time removes files without theirs."""
    there = {}
    opened = Path.open

    def watched(path, *args, **kwargs):
        there.setdefault(path.name, path.exists())
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", watched)
    Journal(tmp_path, "a").open().close()
    assert [existed for name, existed in there.items() if name.startswith("part-")] == [True]
