# job.py N: N small objects in a dictionary and in lists, visited in random order, sorted, dropped.
#
# SPDX-License-Identifier: BSD-2-Clause
import sys


class Record:
    def __init__(self, key):
        self.key = key
        self.text = "record %d" % key
        self.next = None


def numbers(n, x=12345):
    for _ in range(n):
        x = (x * 6364136223846793005 + 1442695040888963407) % 2**64
        yield x >> 33


n = int(sys.argv[1])
records = {}
for i, key in enumerate(numbers(n)):
    records[(key, i)] = Record(key)
order = sorted(records)
for a, b in zip(order, order[1:]):
    records[a].next = records[b]

seen = 0
last = -1
record = records[order[0]]
while record is not None:
    assert record.key >= last
    last = record.key
    seen += len(record.text) > 7
    record = record.next

pairs = list(records.values())
for x in numbers(n):
    pairs[x % n].text += "."
assert sum(r.text.count(".") for r in pairs) == n
print(seen, "sorted")
