/* Atoll's C interface: stable, and what every other language is built on.
 *
 * Rules for all of it:
 * - Functions return an atoll_status; ATOLL_OK is 0. `error` may be NULL; otherwise it is filled in
 *   whenever the status is not ATOLL_OK. On failure outputs are untouched and nothing has happened,
 *   unless the function says otherwise. Nothing here prints, aborts or installs signal handlers.
 * - Times are nanoseconds. A timeout_ns of 0 tries once, a negative one waits without limit.
 *   When the time passes the status is ATOLL_TIMED_OUT.
 * - A handle is used by one thread at a time; different handles at once by different threads, also
 *   handles of one client. A client itself may be used by several threads at once.
 * - After fork() the child gets ATOLL_FORKED from every inherited handle; closing them there is
 *   allowed and touches nothing of the parent's. The child connects for itself.
 * - Option structs: start from the _INIT macro, then set fields. `struct_size` tells the library how
 *   much it may read; a field that is 0 means the old behaviour, for every field added later too.
 *   Result structs are filled up to the `struct_size` given, likewise.
 * - The closing functions accept NULL.
 */
#ifndef ATOLL_ATOLL_H
#define ATOLL_ATOLL_H

#include <stddef.h>
#include <stdint.h>

#include "atoll/status.h"

#if defined(ATOLL_STATIC) || !defined(__GNUC__)
#define ATOLL_API
#else
#define ATOLL_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Errors ------------------------------------------------------------------------------- */

/* What went wrong. Texts are UTF-8, NUL-terminated, cut to fit. */
typedef struct atoll_error {
  uint32_t struct_size;
  int32_t code;      /* atoll_status */
  uint64_t detail;   /* the number that the message speaks of, e.g. bytes needed; else 0 */
  char message[512]; /* what happened, and where */
  char segment[136]; /* the segment's name, or "" */
  char fix[376];     /* how to mend it */
} atoll_error;
#define ATOLL_ERROR_INIT {sizeof(atoll_error), 0, 0, "", "", ""}

/* The name of a status, the same in every language: "no_space". Static; never NULL. */
ATOLL_API const char *atoll_status_name(int32_t status);
/* "0.1.0", of the library that is running. Static. */
ATOLL_API const char *atoll_version(void);

/* ---- Client: a connection to the broker ----------------------------------------------------- */

typedef struct atoll_client atoll_client;

#define ATOLL_CONNECT_NO_START 1u      /* do not start a broker if there is none: ATOLL_NO_BROKER */
#define ATOLL_CONNECT_INTERRUPTIBLE 2u /* waits return ATOLL_INTERRUPTED when a signal handler ran; so do calls to a broker
                                        * that has not answered for a second, carried out or not */

typedef struct atoll_connect_options {
  uint32_t struct_size;
  uint32_t flags;          /* ATOLL_CONNECT_... */
  const char *socket_path; /* NULL: $ATOLL_SOCKET, else the user's own, else /run/atoll/ */
  const char *atolld_path; /* NULL: $ATOLLD, else beside the library or command, else PATH */
  const char *language;    /* for `atoll show`: "C" if NULL */
  int64_t timeout_ns;      /* most that one call to the broker may take, starting it included; 0: 10 s, negative: no limit */
} atoll_connect_options;
#define ATOLL_CONNECT_OPTIONS_INIT {sizeof(atoll_connect_options), 0, NULL, NULL, NULL, 0}

/* Connects, starting a broker for this user if there is none. Errors: ATOLL_NO_BROKER,
 * ATOLL_UNTRUSTED_BROKER, ATOLL_SOCKET_PATH_TOO_LONG, ATOLL_BAD_RUNTIME_DIRECTORY,
 * ATOLL_LIMIT_REACHED, ATOLL_WRONG_VERSION. `options` may be NULL. */
ATOLL_API atoll_status atoll_client_connect(const atoll_connect_options *options, atoll_client **out,
                                            atoll_error *error);
/* Closes the connection. Handles opened from it go on working and keep what they need alive. */
ATOLL_API void atoll_client_close(atoll_client *client);

/* Calls a method of protocol/dev.atoll.Broker.varlink ("List", "Show", "Manifest", "Gc", "Status",
 * "Remove", "Stop", "Create", ...) with a JSON object and gives the reply's parameters as JSON, to
 * be freed with atoll_string_free. Reconnects first if need be. */
ATOLL_API atoll_status atoll_client_call(atoll_client *client, const char *method, const char *parameters_json,
                                         char **reply_json, atoll_error *error);
ATOLL_API void atoll_string_free(char *string);

/* ---- Creating and removing -------------------------------------------------------------------- */

typedef enum atoll_kind { ATOLL_KIND_STREAM = 1, ATOLL_KIND_BYTES = 5 } atoll_kind;
typedef enum atoll_backing { ATOLL_BACKING_SHM = 0, ATOLL_BACKING_FILE = 1, ATOLL_BACKING_MEMFD = 2 } atoll_backing;
typedef enum atoll_when_full { ATOLL_BLOCK = 0, ATOLL_DROP_NEW = 1, ATOLL_OVERWRITE = 2 } atoll_when_full;

typedef struct atoll_create_options {
  uint32_t struct_size;
  uint32_t kind;         /* atoll_kind; 0: stream */
  uint32_t backing;      /* atoll_backing */
  uint32_t when_full;    /* stream: atoll_when_full */
  uint64_t capacity;     /* stream: bytes of each lane, rounded up to a power of two; 0: 1 MiB */
  uint32_t alignment;    /* stream: of payloads, 16 or 64; 0: 16 */
  uint32_t reserved;
  uint64_t size;         /* bytes: of the content */
  int64_t put_size;      /* bytes: the longest put; 0: size up to 16 MiB, else none; -1: none */
  const char *directory; /* backing file: where; absolute */
  const char *access;    /* who else may use it, "USER:RIGHTS,..." with RIGHTS of p c o a; NULL: nobody */
} atoll_create_options;
#define ATOLL_CREATE_OPTIONS_INIT {sizeof(atoll_create_options), 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL}

/* Creates a segment. One that exists with the same options is not an error: *created (may be NULL)
 * becomes 0. Errors: ATOLL_EXISTS_WITH_OTHER_OPTIONS (the message names both), ATOLL_NO_SPACE,
 * ATOLL_INVALID_NAME, ATOLL_INVALID_GEOMETRY, ATOLL_LIMIT_REACHED, ATOLL_NOT_PERMITTED. */
ATOLL_API atoll_status atoll_client_create(atoll_client *client, const char *name,
                                           const atoll_create_options *options, int *created, atoll_error *error);
/* Removes a segment. Those who use it keep their mappings and get ATOLL_REMOVED: from waits, and a producer from
 * atoll_producer_finish and the first send that asks for room, at the latest an eighth of the ring later.
 * Errors: ATOLL_UNKNOWN_SEGMENT, ATOLL_IN_USE unless `force`, ATOLL_NOT_PERMITTED. */
ATOLL_API atoll_status atoll_client_remove(atoll_client *client, const char *name, int force, atoll_error *error);

/* ---- Producer: writes a stream ---------------------------------------------------------------- */

typedef struct atoll_producer atoll_producer;

/* What a payload is; readers see it. */
typedef enum atoll_content {
  ATOLL_CONTENT_BYTES = 0,
  ATOLL_CONTENT_TEXT = 1, /* UTF-8 */
  ATOLL_CONTENT_JSON = 2, /* UTF-8 */
  ATOLL_CONTENT_ARRAY = 3 /* SPEC.md, "Arrays" */
} atoll_content;

typedef struct atoll_producer_options {
  uint32_t struct_size;
  uint32_t flags;  /* 0 */
  int64_t wait_ns; /* how long to wait for the segment to appear; 0: not at all */
} atoll_producer_options;
#define ATOLL_PRODUCER_OPTIONS_INIT {sizeof(atoll_producer_options), 0, 0}

/* Attaches as a producer with a lane of its own. Errors: ATOLL_UNKNOWN_SEGMENT, ATOLL_WRONG_KIND,
 * ATOLL_TOO_MANY_LANES, ATOLL_NO_SPACE, ATOLL_NOT_PERMITTED, ATOLL_TIMED_OUT. */
ATOLL_API atoll_status atoll_client_open_producer(atoll_client *client, const char *name,
                                                  const atoll_producer_options *options, atoll_producer **out,
                                                  atoll_error *error);
/* Gives the lane back; open loans are aborted. Does not say finish. */
ATOLL_API void atoll_producer_close(atoll_producer *producer);

/* Sends one record: copies `length` bytes into the lane. When the ring is full it waits (block),
 * returns ATOLL_DROPPED (drop-new) or overwrites the oldest (overwrite). Errors: ATOLL_TIMED_OUT,
 * ATOLL_TOO_LARGE, ATOLL_REMOVED, ATOLL_INTERRUPTED, ATOLL_NO_BROKER (only if a new group appeared
 * and no broker can be reached to say where). */
ATOLL_API atoll_status atoll_producer_send(atoll_producer *producer, const void *data, uint64_t length,
                                           uint32_t content, int64_t timeout_ns, atoll_error *error);

typedef struct atoll_slice {
  const void *data;
  uint64_t length;
} atoll_slice;
/* Sends several records in order. *sent (never NULL) is how many were stored or dropped, also on
 * failure: those before it are sent, those from it on are not. */
ATOLL_API atoll_status atoll_producer_send_many(atoll_producer *producer, const atoll_slice *slices, size_t count,
                                                uint32_t content, int64_t timeout_ns, size_t *sent,
                                                atoll_error *error);

/* A record's payload memory, to be filled in place. */
typedef struct atoll_loan {
  void *data;      /* aligned to the stream's alignment */
  uint64_t length; /* bytes */
  uint64_t token;  /* the library's */
} atoll_loan;
/* Lends `length` bytes. Several loans may be open; readers see later records only once earlier
 * loans are committed or aborted. Errors as for send. */
ATOLL_API atoll_status atoll_producer_loan(atoll_producer *producer, uint64_t length, uint32_t content,
                                           int64_t timeout_ns, atoll_loan *out, atoll_error *error);
/* Publishes the loan's payload; the memory may not be written any more.
 * Errors: ATOLL_INVALID_ARGUMENT if it is not an open loan of this producer. */
ATOLL_API atoll_status atoll_producer_commit(atoll_producer *producer, const atoll_loan *loan, atoll_error *error);
/* Gives the loan back unused: readers never see it. */
ATOLL_API atoll_status atoll_producer_abort(atoll_producer *producer, const atoll_loan *loan, atoll_error *error);

/* Says that nothing more will come from this producer. Readers get ATOLL_ENDED once every producer
 * has finished or closed, at least one finished, and all is read. Sending again takes it back. */
ATOLL_API atoll_status atoll_producer_finish(atoll_producer *producer, atoll_error *error);

typedef struct atoll_producer_info {
  uint32_t struct_size;
  uint32_t lane;
  uint64_t capacity;    /* bytes of the lane */
  uint64_t max_payload; /* bytes of the largest record */
  uint64_t sequence;    /* number of the next record */
  uint64_t dropped;     /* records refused since the lane began */
  uint64_t blocked;     /* times a send had to wait */
  uint32_t alignment;
  uint32_t when_full;   /* atoll_when_full */
} atoll_producer_info;
ATOLL_API atoll_status atoll_producer_get_info(atoll_producer *producer, atoll_producer_info *info, atoll_error *error);

/* ---- Consumer and observer: read a stream ------------------------------------------------------ */

typedef struct atoll_consumer atoll_consumer; /* a member of a group, or an observer */

#define ATOLL_CONSUMER_MANUAL 1u    /* releasing a view does not acknowledge it */
#define ATOLL_CONSUMER_EXCLUSIVE 2u /* the group has one consumer at a time and needs no lock */
#define ATOLL_CONSUMER_EPHEMERAL 4u /* the group ends with its last consumer */
/* Views lie in a copy-on-write mapping: writable memory in which a store harms this process only. For
 * languages that cannot hand out read-only memory. */
#define ATOLL_CONSUMER_PRIVATE_VIEWS 8u
/* Waiting is looking: receive never sleeps and takes all of a CPU, which should be the consumer's own. In a
 * client with ATOLL_CONNECT_INTERRUPTIBLE a wait ends with ATOLL_INTERRUPTED every millisecond or sooner. */
#define ATOLL_CONSUMER_SPIN 16u

typedef enum atoll_start { ATOLL_START_EARLIEST = 0, ATOLL_START_LATEST = 1, ATOLL_START_BACK = 2 } atoll_start;

typedef struct atoll_consumer_options {
  uint32_t struct_size;
  uint32_t flags;      /* ATOLL_CONSUMER_... */
  const char *group;   /* NULL: "default". Not used by observers */
  uint32_t start;      /* atoll_start, when the group is new (an observer: always) */
  uint32_t prefetch;   /* most records claimed ahead, 1..64; 0: chosen by the library */
  uint64_t start_back; /* ATOLL_START_BACK: how many records back in each lane */
  int64_t wait_ns;     /* how long to wait for the segment to appear; 0: not at all */
} atoll_consumer_options;
#define ATOLL_CONSUMER_OPTIONS_INIT {sizeof(atoll_consumer_options), 0, NULL, 0, 0, 0, 0}

/* Joins a group of a stream, making the group if it is not there. Errors: ATOLL_UNKNOWN_SEGMENT,
 * ATOLL_WRONG_KIND, ATOLL_TOO_MANY_GROUPS, ATOLL_GROUP_EXCLUSIVE, ATOLL_NO_SPACE,
 * ATOLL_NOT_PERMITTED, ATOLL_TIMED_OUT. */
ATOLL_API atoll_status atoll_client_open_consumer(atoll_client *client, const char *name,
                                                  const atoll_consumer_options *options, atoll_consumer **out,
                                                  atoll_error *error);
/* Watches a stream: takes nothing away and holds nothing back. It gets copies, and is told how many
 * records it missed. Errors as above. */
ATOLL_API atoll_status atoll_client_open_observer(atoll_client *client, const char *name,
                                                  const atoll_consumer_options *options, atoll_consumer **out,
                                                  atoll_error *error);
/* Leaves the group: what was received and not acknowledged is given to others again, marked; what was
 * only claimed ahead, unmarked. Views become invalid: the caller makes sure that none is in use. */
ATOLL_API void atoll_consumer_close(atoll_consumer *consumer);

/* A record's payload in place. Valid until released (an observer's or an overwrite stream's: a copy
 * owned by the library, likewise). */
typedef struct atoll_view {
  const void *data;    /* aligned to the stream's alignment; read-only memory */
  uint64_t length;     /* bytes */
  uint64_t sequence;   /* number of the record in its lane */
  uint64_t lost;       /* records of this lane that were lost just before this one */
  uint16_t lane;
  uint16_t content;    /* atoll_content */
  uint16_t deliveries; /* 1: first; more: given again after a death, a rejection or a close */
  uint16_t reserved;
  uint64_t token;      /* the library's */
} atoll_view;

/* The next record. Errors: ATOLL_TIMED_OUT, ATOLL_ENDED, ATOLL_REMOVED, ATOLL_INTERRUPTED,
 * ATOLL_LANE_DAMAGED (once for each damaged lane; call again to go on with the others),
 * ATOLL_GROUP_DAMAGED, ATOLL_TOO_MANY_UNACKNOWLEDGED. */
ATOLL_API atoll_status atoll_consumer_receive(atoll_consumer *consumer, int64_t timeout_ns, atoll_view *out,
                                              atoll_error *error);
/* Up to `max` records: waits for the first only. *count (never NULL) is 0 on failure. */
ATOLL_API atoll_status atoll_consumer_receive_many(atoll_consumer *consumer, int64_t timeout_ns, atoll_view *out,
                                                   size_t max, size_t *count, atoll_error *error);
/* Says that a view is not looked at any more; without ATOLL_CONSUMER_MANUAL also acknowledges it.
 * A view released twice: ATOLL_VIEW_RELEASED. */
ATOLL_API atoll_status atoll_consumer_release(atoll_consumer *consumer, const atoll_view *view, atoll_error *error);
/* The same for several at once; stops at the first that fails. */
ATOLL_API atoll_status atoll_consumer_release_many(atoll_consumer *consumer, const atoll_view *views, size_t count,
                                                   atoll_error *error);
/* Says that a record is dealt with (manual mode). In any order; before or after its release. */
ATOLL_API atoll_status atoll_consumer_acknowledge(atoll_consumer *consumer, const atoll_view *view, atoll_error *error);
/* Acknowledges this record and all that this consumer received before it, of every lane. */
ATOLL_API atoll_status atoll_consumer_acknowledge_up_to(atoll_consumer *consumer, const atoll_view *view,
                                                        atoll_error *error);
/* Negative acknowledgement (manual mode): the record is given again, to any member, marked. */
ATOLL_API atoll_status atoll_consumer_reject(atoll_consumer *consumer, const atoll_view *view, atoll_error *error);

/* For event loops. A descriptor that is readable when a receive with timeout 0 may succeed, fail or
 * end. Level-triggered: stays readable until such a receive returned ATOLL_TIMED_OUT. The handle owns
 * it. The first call in a process starts its one waiter thread. */
ATOLL_API atoll_status atoll_consumer_event_fd(atoll_consumer *consumer, int *fd, atoll_error *error);
/* Instead of a descriptor: `notify(context)` is called once, from the waiter thread, when there may
 * be something after a receive with timeout 0 returned ATOLL_TIMED_OUT. It must not block and must
 * not call this library. NULL takes it off and returns once no call is under way. */
ATOLL_API atoll_status atoll_consumer_set_notify(atoll_consumer *consumer, void (*notify)(void *), void *context,
                                                 atoll_error *error);

typedef struct atoll_consumer_info {
  uint32_t struct_size;
  uint32_t alignment;
  uint64_t received;    /* records given to the caller */
  uint64_t lost;        /* records overwritten before they could be read, known so far */
  uint64_t outstanding; /* records received and not yet done */
  uint32_t lanes;       /* lanes it reads */
  uint32_t copies;      /* 1: views are copies (observer, overwrite) */
} atoll_consumer_info;
ATOLL_API atoll_status atoll_consumer_get_info(atoll_consumer *consumer, atoll_consumer_info *info, atoll_error *error);

/* The same two for producers: ready when a send that returned ATOLL_TIMED_OUT may now succeed. */
ATOLL_API atoll_status atoll_producer_event_fd(atoll_producer *producer, int *fd, atoll_error *error);
ATOLL_API atoll_status atoll_producer_set_notify(atoll_producer *producer, void (*notify)(void *), void *context,
                                                 atoll_error *error);

/* ---- Bytes: a plain piece of shared memory ------------------------------------------------------- */

typedef struct atoll_bytes atoll_bytes;
typedef enum atoll_map_mode { ATOLL_MAP_READ = 0, ATOLL_MAP_WRITE = 1, ATOLL_MAP_COPY = 2 } atoll_map_mode;

typedef struct atoll_bytes_options {
  uint32_t struct_size;
  uint32_t mode;   /* atoll_map_mode; COPY: changes stay private to this handle */
  int64_t wait_ns; /* how long to wait for the segment to appear; 0: not at all */
} atoll_bytes_options;
#define ATOLL_BYTES_OPTIONS_INIT {sizeof(atoll_bytes_options), 0, 0}

ATOLL_API atoll_status atoll_client_open_bytes(atoll_client *client, const char *name,
                                               const atoll_bytes_options *options, atoll_bytes **out,
                                               atoll_error *error);
/* Unmaps: pointers from atoll_bytes_data become invalid. */
ATOLL_API void atoll_bytes_close(atoll_bytes *bytes);
/* The content in place: atoll_bytes_size bytes, page-aligned. Writable unless mode READ. Not
 * coordinated with other processes. NULL and 0 for a NULL handle or after fork. */
ATOLL_API void *atoll_bytes_data(atoll_bytes *bytes);
ATOLL_API uint64_t atoll_bytes_size(const atoll_bytes *bytes);
/* Copies from / to the content at any offset, not coordinated with others. ATOLL_INVALID_ARGUMENT
 * if the range is not inside the content; ATOLL_NOT_PERMITTED to write with mode READ. */
ATOLL_API atoll_status atoll_bytes_read_at(atoll_bytes *bytes, uint64_t offset, void *data, uint64_t length,
                                           atoll_error *error);
ATOLL_API atoll_status atoll_bytes_write_at(atoll_bytes *bytes, uint64_t offset, const void *data, uint64_t length,
                                            atoll_error *error);
/* Writes a range (length 0: all) back to the disk; wait: until it is there. Only backing file has a disk. */
ATOLL_API atoll_status atoll_bytes_flush(atoll_bytes *bytes, uint64_t offset, uint64_t length, int wait,
                                         atoll_error *error);
/* "These are the content now": as one, for everybody who gets. Errors: ATOLL_TOO_LARGE (detail: the
 * longest put), ATOLL_NOT_PERMITTED (mode READ or COPY), ATOLL_TIMED_OUT (another put holds the lock). */
ATOLL_API atoll_status atoll_bytes_put(atoll_bytes *bytes, const void *data, uint64_t length, int64_t timeout_ns,
                                       atoll_error *error);
/* Copies the content last put, never half of one and half of another, once its version is above
 * `after` (0: any put). *length and *version tell what it was. Errors: ATOLL_TOO_LARGE (detail: bytes
 * needed), ATOLL_TIMED_OUT, ATOLL_REMOVED, ATOLL_INTERRUPTED. */
ATOLL_API atoll_status atoll_bytes_get(atoll_bytes *bytes, uint64_t after, int64_t timeout_ns, void *buffer,
                                       uint64_t capacity, uint64_t *length, uint64_t *version, atoll_error *error);
/* For event loops, as for consumers: ready when a get that returned ATOLL_TIMED_OUT may succeed. */
ATOLL_API atoll_status atoll_bytes_event_fd(atoll_bytes *bytes, int *fd, atoll_error *error);
ATOLL_API atoll_status atoll_bytes_set_notify(atoll_bytes *bytes, void (*notify)(void *), void *context,
                                              atoll_error *error);

typedef struct atoll_bytes_info {
  uint32_t struct_size;
  uint32_t mode;     /* atoll_map_mode */
  uint64_t size;     /* bytes of content */
  uint64_t put_size; /* the longest put; 0: none */
  uint64_t length;   /* of the content last put */
  uint64_t version;  /* number of puts */
} atoll_bytes_info;
ATOLL_API atoll_status atoll_bytes_get_info(atoll_bytes *bytes, atoll_bytes_info *info, atoll_error *error);

#ifdef __cplusplus
}
#endif
#endif
