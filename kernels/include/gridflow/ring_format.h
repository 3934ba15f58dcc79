/* The bytes of a ring: memory that one client process of this machine shares with the node that owns the grid.
 *
 * Not part of the persistent format: a ring is of use only while both processes live. But they may be of two releases, so
 * whatever changes here gets another GF_RING_VERSION; a node refuses a ring of a version that is not its own, and the
 * client then sends all by the node's socket.
 *
 *   rings/<32 hex digits>.ring
 *   0      +--------------------------------------+
 *          | gf_ring_header            4096 bytes |   the client makes the file, and holds a lock on it while it lives
 *   4096   | records, one after the other, in a   |   at (bytes ever published) % capacity; none goes past the end:
 *          | circle of `capacity` bytes           |   there a record of kind GF_RING_SKIP fills the rest
 *          +--------------------------------------+
 *
 *   record  := gf_ring_record (32 bytes), request, room that is not used, up to `room` bytes
 *   request := GF_RING_COMMIT: gf_ring_commit (16 bytes), operations of log_format.h
 *              GF_RING_MESSAGE: a message of gridflow/protocols/messages.py
 *
 * The client writes a record, then `head` (release order). The owner takes the records in order, copies each before it
 * looks at it, and writes the answer into the record's own room, in any order: kind, bytes, count first, `state` last. The
 * client uses the room again when it has read the answer. So neither ever waits for the other to read.
 *
 *   rings/bell
 *   0      +--------------------------------------+
 *          | gf_ring_bell              4096 bytes |   one for all rings; the owner makes it, and holds a lock on it
 *          +--------------------------------------+
 *
 * Whoever waits sleeps on a futex: the owner on `bell`, a thread of the client on its record's `state`. Both say so
 * before (`asleep`, GF_RING_AWAITED), so that nobody makes a system call to wake one who does not sleep. A client that is
 * about to write may ring before it has: the owner wakes up meanwhile, and looks for a moment whether something comes.
 */
#ifndef GRIDFLOW_RING_FORMAT_H_
#define GRIDFLOW_RING_FORMAT_H_

#include <stdint.h>

#define GF_RING_MAGIC 0x0A1A0D474E524647ull      /* "GFRNG\r\x1a\n" */
#define GF_RING_BELL_MAGIC 0x0A1A0D4C45424647ull /* "GFBEL\r\x1a\n" */
#define GF_RING_VERSION 2u
#define GF_RING_HEADER_BYTES 4096u
#define GF_RING_CAPACITY (256u << 10)
#define GF_RING_ALIGNMENT 64u       /* of records: a cache line */
#define GF_RING_LEAST_ROOM 512u     /* of a record: an answer that is an error has text */
#define GF_RING_MOST_ROOM (64u << 10)

/* What a record holds: a request, then its answer. */
enum gf_ring_kind {
  GF_RING_SKIP = 1,
  GF_RING_COMMIT = 2,
  GF_RING_MESSAGE = 3,
  GF_RING_DONE = 16,      /* it is done; `count` says how many rows it concerned */
  GF_RING_ELSEWHERE = 17, /* nothing was done, and cannot be at once: send it by the socket */
  GF_RING_ERROR = 18,     /* an error, as messages.encode_error writes it */
};

/* What a record's `state` goes through. */
enum gf_ring_state {
  GF_RING_ASKED = 1,
  GF_RING_AWAITED = 2, /* as before, and the thread that asked sleeps */
  GF_RING_ANSWERED = 3,
};

/* Why the owner takes nothing from a ring any more. */
enum gf_ring_closed {
  GF_RING_OPEN = 0,
  GF_RING_STOPPED = 1, /* the node stops: what is not answered was not done */
  GF_RING_LOST = 2,    /* the node has died, which its successor says: what is not answered may have been done */
  GF_RING_REFUSED = 3, /* the client has written what no client writes; `reason` says what */
};

/* What a commit does with its operations: those of messages.Commit. */
enum gf_ring_mode {
  GF_RING_PUT = 0,
  GF_RING_PUT_IF_ABSENT = 1,
  GF_RING_REPLACE = 2,
  GF_RING_REMOVE = 3,
  GF_RING_INSERT = 4,
  GF_RING_MODES = 5,
};

typedef struct gf_ring_header {
  uint64_t magic;
  uint32_t version;
  uint32_t capacity;
  uint32_t closed; /* gf_ring_closed; written by the owner or its successor, after `reason` */
  uint32_t reserved;
  char reason[232]; /* ends with 0 */
  uint64_t head;    /* bytes ever published; written by the client, with release order */
  uint32_t left;    /* 1: the client will write no more */
} gf_ring_header;

typedef struct gf_ring_record {
  uint32_t state;
  uint32_t room;  /* of the record, with this header: a multiple of GF_RING_ALIGNMENT */
  uint32_t kind;
  uint32_t bytes; /* of the request, or of the answer */
  uint64_t count;
  uint32_t crc; /* of room, kind, bytes, count (0) and the request */
  uint32_t reserved;
} gf_ring_record;

typedef struct gf_ring_commit {
  uint32_t table_id;
  uint32_t mode;
  uint64_t columns; /* digest of the columns that the operations were encoded for */
} gf_ring_commit;

typedef struct gf_ring_bell {
  uint64_t magic;
  uint32_t version;
  uint32_t asleep; /* whether the owner sleeps, or is about to */
  uint32_t bell;   /* the futex: goes up with every ring */
  uint32_t pid;    /* the owner's, as it is called in its own namespace */
  uint32_t reserved;
  uint64_t pid_namespace; /* the inode of that namespace: containers may have the same pids; 0 where it is not known */
} gf_ring_bell;

#ifdef __cplusplus
static_assert(sizeof(gf_ring_header) == 272, "both processes agree on it");
static_assert(sizeof(gf_ring_record) == 32, "both processes agree on it");
static_assert(sizeof(gf_ring_commit) == 16, "both processes agree on it");
static_assert(sizeof(gf_ring_bell) == 40, "both processes agree on it");
#endif

#endif /* GRIDFLOW_RING_FORMAT_H_ */
