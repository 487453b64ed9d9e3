"""What people are told of a spool: figures from its rows, and its chunks byte for byte, a page at a time."""

from typing import Any

from hubagent.core.retention import Position
from hubagent.edges.spool_store import GapRow, Store
from hubagent.loops.chunk_log import number_of
from hubagent.loops.spool_rows import kept_bytes, owed_by
from hubagent.wire import subjects

PAGE_BYTES = 512 << 10  # a page goes through the local socket as one line
GAPS_SHOWN = 20


def stats(store: Store) -> dict[str, Any]:
    """Depth, bytes and age of both lanes, and what each destination still gets."""
    cursors = sorted(store.cursors())
    return {
        "path": str(store.path),
        "used_bytes": store.used_bytes(),
        "inc": number_of(store.meta("inc")) or 0,
        "lanes": [_lane(store, lane) for lane in subjects.LANES],
        "destinations": [_destination(store, row.dest, row.lane, (row.inc, row.n)) for row in cursors],
        "dropped": [_gap(gap) for row in cursors for gap in store.gaps(row.dest, row.lane, GAPS_SHOWN)],
    }


def export_page(store: Store, lane: str, after: Position) -> dict[str, Any]:
    """Kept chunks behind a position, in order, and where the next page begins (null at the end)."""
    chunks, size = list[dict[str, Any]](), 0
    while (row := store.after(lane, *after)) is not None and size < PAGE_BYTES:
        after, payload = (row.inc, row.n), store.body(row.id)
        if payload is not None:
            size += len(payload)
            text = payload.decode("utf-8", "replace")
            chunks.append({"lane": lane, "inc": row.inc, "n": row.n, "hash": row.hash, "sig": row.sig, "payload": text})
    return {"chunks": chunks, "next": list(after) if row is not None else None}


def _lane(store: Store, lane: str) -> dict[str, Any]:
    newest, oldest = store.newest(lane), store.oldest_kept(lane)
    return {
        "lane": lane,
        "last": [newest.inc, newest.n] if newest else None,
        "chunks": newest.cum_chunks - oldest.cum_chunks + 1 if newest and oldest else 0,
        "bytes": kept_bytes(store, lane, newest, None),
        "records": newest.cum_count - oldest.cum_count + oldest.records if newest and oldest else 0,
        "open_records": len(store.open_rows(lane)),
        "oldest_t": oldest.t0 if oldest else None,
        "newest_t": newest.t1 if newest else None,
    }


def _destination(store: Store, dest: str, lane: str, position: Position) -> dict[str, Any]:
    owed = owed_by(store, dest, lane, position)
    where = {"dest": dest, "lane": lane, "acked": list(position)}
    return where | {"chunks": owed.chunks, "bytes": owed.bytes, "oldest_t": owed.oldest_t}


def _gap(gap: GapRow) -> dict[str, Any]:
    return {
        "dest": gap.dest, "lane": gap.lane, "inc": gap.inc, "n": gap.n, "n_to": gap.n_to, "kind": gap.kind,
        "reason": gap.reason, "at": gap.at, "count": gap.records,
    }  # fmt: skip
