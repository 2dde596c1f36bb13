"""Files of checked lines: what was appended comes back, what was damaged does not."""

from fsbench.records.checked_jsonl import CheckedJsonl


def test_entries_come_back_and_damaged_ones_are_none(tmp_path):
    file = CheckedJsonl(tmp_path / "x.jsonl")
    file.create("header\n")
    first, second = file.append({"a": 1}), file.append([2], "three")
    file.close()
    assert file.header() == b"header" and [value for _, value in file.entries()] == [{"a": 1}, [2], "three"]
    assert [offset for offset, _ in file.entries()][:2] == [first, second]
    assert list(file.read([second, first])) == [[2], {"a": 1}]
    file.path.write_bytes(file.path.read_bytes().replace(b'"a": 1', b'"a": 2'))
    assert [value for _, value in file.entries()] == [None, [2], "three"]


def test_a_line_that_was_cut_off_does_not_harm_the_next(tmp_path):
    file = CheckedJsonl(tmp_path / "x.jsonl")
    file.create("header\n")
    file.append("whole", "cut off")
    file.close()
    file.path.write_bytes(file.path.read_bytes()[:-5])
    again = CheckedJsonl(file.path)
    offset = again.append("next")
    again.close()
    assert [value for _, value in again.entries()] == ["whole", None, "next"] and list(again.read([offset])) == ["next"]
