"""A journal whose bytes were changed: what is sound counts, nothing unreadable is lost."""

import pytest

from fsbench.records.checked_jsonl import checked_line
from fsbench.records.journal import Journal
from tests.fsbench.records.test_record import result

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


def test_lines_of_another_run_are_not_taken_for_ones_own(tmp_path):
    file = journal_of(tmp_path)
    file.write_bytes(b"x" + file.read_bytes()[1:])
    other = Journal(tmp_path, "cd" * 32)
    assert other.done() == set() and len(other.damaged()) == 4
    other.open().close()
    assert file.exists()


@pytest.mark.parametrize("value", [{}, 3, None, [3], [{"episode": "1"}], [{"episode": True}], [{}], "x"])
def test_a_line_that_holds_no_rows_is_left_out(tmp_path, value):
    file = journal_of(tmp_path, 1)
    with file.open("a") as opened:
        opened.write(checked_line(value, ID))
    assert Journal(tmp_path, ID).done() == {0} and Journal(tmp_path, ID).damaged() == [f"{file.name} line 3"]
