/* The fabric: messages and windows of memory between threads, processes and machines.
 *
 *     application -- fabric_post() --> input queues --> windows --> transport --+
 *     application <- fabric_receive() <---------------- windows <-- transport <-+
 *
 * A channel is a conversation of two peers over one or more transports, which addresses choose: inproc:NAME (threads), ipc:NAME or ipc:/path.sock
 * (processes of one machine), tcp://host:port, vsock://cid:port. One peer listens, the other connects, in either order. docs/fabric-guide.md says what
 * to choose.
 *
 * RULES
 *
 * Handles     Structs without a definition here are handles: made by a call, given back to the call that ends in _free (which takes NULL, too), and not used
 *             afterwards. One call at a time may use a handle, or it is refused with FABRIC_MISUSE; fabric_channel, fabric_slice, fabric_received and
 *             fabric_view may be used by any number of threads at once, but not be freed meanwhile. A sender or receiver keeps its channel open: the
 *             channel ends when the last of them and the fabric_channel itself are freed, or by fabric_channel_close. Windows, slices and received
 *             messages outlive their channel.
 * Results     Calls return a fabric_code, FABRIC_OK being 0, and write results through pointers, only with FABRIC_OK unless said otherwise. No result
 *             pointer may be NULL. Texts are UTF-8 and end with a zero byte.
 * Errors      The last parameter of nearly every call is NULL or a fabric_error of the caller's, which is written only if the call fails. There are no
 *             global errors.
 * Times       Nanoseconds from now on: 0 does not wait, below 0 (FABRIC_FOREVER) waits without end.
 * Callbacks   Return by `return`: no longjmp, no exception through the fabric.
 * Forking     Use channels in the process that opened them. A child that goes on without exec keeps its parent's sockets open.
 *
 * A zeroed fabric_queue, and 0 for any enum, asks for the usual.
 *
 * Linking     gcc program.c -lphfabric, or statically with
 *             -Wl,--whole-archive libphfabric.a -Wl,--no-whole-archive -lpthread -ldl -lm (the whole archive, since transports register themselves).
 */
#ifndef FABRIC_H
#define FABRIC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header. A program compares it with fabric_abi() if it may meet a library of another build. */
#define FABRIC_ABI 1
#define FABRIC_FOREVER INT64_C(-1)
#define FABRIC_ALL_FRAMES SIZE_MAX

typedef struct fabric_options fabric_options;
typedef struct fabric_channel fabric_channel;
typedef struct fabric_sender fabric_sender;
typedef struct fabric_receiver fabric_receiver;
typedef struct fabric_message fabric_message;
typedef struct fabric_received fabric_received;
typedef struct fabric_view fabric_view;
typedef struct fabric_window fabric_window;
typedef struct fabric_slice fabric_slice;
typedef struct fabric_raw fabric_raw;

/* ---- Errors ---- */

typedef enum fabric_code {
	FABRIC_OK = 0,
	FABRIC_TIMED_OUT = 1,   /* nothing came, or not all was read, in time */
	FABRIC_BUSY = 2,        /* the queue is full, or no window is free, and the time is over */
	FABRIC_PEER_GONE = 3,   /* the peer closed, died, or broke the protocol: the text says which; see in_doubt */
	FABRIC_CLOSED = 4,      /* the channel is closed here, or looks for no further peer */
	FABRIC_TOO_LARGE = 5,   /* over a limit, which `limit` says */
	FABRIC_FAILED = 6,      /* a transport gave up */
	FABRIC_ADDRESS = 7,     /* the address is wrong: the text says which part */
	FABRIC_UNAVAILABLE = 8, /* no transport of this scheme, or the machine lacks something for it */
	FABRIC_TAKEN = 9,       /* someone else listens there */
	FABRIC_REFUSED = 10,    /* the peer's version or user, or the peer refused us */
	FABRIC_SYSTEM = 11,     /* the system refused */
	FABRIC_MISUSE = 12,     /* NULL, a number out of range, a call out of order: the program is wrong */
	FABRIC_PANIC = 13       /* the library is wrong; do not use the handle any more, but free it */
} fabric_code;

typedef struct fabric_error {
	int32_t code;         /* fabric_code */
	uint32_t text_length; /* without the zero byte */
	uint64_t in_doubt;    /* FABRIC_PEER_GONE: messages sent last of which it is not known whether the peer has read them; all before them it has.
	                         FABRIC_TIMED_OUT of a flush: messages on their way */
	uint64_t limit;       /* FABRIC_TOO_LARGE: the most that is taken; for a text, bytes needed */
	char text[488];       /* for people; names the channel, the peer and the rule. Cut if it is longer */
} fabric_error;

/* The version of the header that the library keeps to. */
uint32_t fabric_abi(void);

/* Writes the schemes that there are, with blanks between them, into `text` of `size` bytes. */
int32_t fabric_schemes(char *text, size_t size, fabric_error *error);

/* ---- Options: what a channel is to be ---- */

int32_t fabric_options_new(fabric_options **options, fabric_error *error);
void fabric_options_free(fabric_options *options);

/* A name for errors; otherwise it is called by its first address. */
int32_t fabric_options_name(fabric_options *options, const char *name, fabric_error *error);

/* Adds a transport that waits at `uri` for its peer, or goes there. A message goes over every transport of its channel. The address is looked at when the
 * channel is opened. */
int32_t fabric_options_listen(fabric_options *options, const char *uri, fabric_error *error);
int32_t fabric_options_connect(fabric_options *options, const char *uri, fabric_error *error);

typedef enum fabric_lane {
	FABRIC_BULK = 0,   /* the usual windows for sending: 16 of 256 KiB unless set */
	FABRIC_URGENT = 1, /* those of critical priority: 8 of 4 KiB unless set */
	FABRIC_ACCEPT = 2  /* the most that a peer may bring, in each lane: 4,096 of 16 MiB unless set */
} fabric_lane;

/* The size of a window bounds messages (fabric_sender_message_bytes_max), their number how far the peer may lag behind. */
int32_t fabric_options_windows(fabric_options *options, int32_t lane, size_t bytes, size_t count, fabric_error *error);

/* Windows that frames refer to without a copy where the transport shares memory: `count` of `window_bytes`, rounded up to pages. */
int32_t fabric_options_arena(fabric_options *options, size_t window_bytes, size_t count, fabric_error *error);

typedef enum fabric_trust {
	FABRIC_HOSTILE = 0, /* the peer may change its memory at any instant: what it sends is copied before it is looked at */
	FABRIC_SAME = 1     /* it runs our code under our user: messages are read where they lie */
} fabric_trust;

int32_t fabric_options_trust(fabric_options *options, int32_t trust, fabric_error *error);

/* One more user, by number, that may be a peer besides root and one's own. */
int32_t fabric_options_user(fabric_options *options, uint32_t user, fabric_error *error);

typedef enum fabric_receive_kind {
	FABRIC_RECEIVE_MONO_UNBOUNDED = 0, /* one consumer; bounded by `bytes` alone */
	FABRIC_RECEIVE_MONO_BOUNDED = 1,
	FABRIC_RECEIVE_MULTI_UNBOUNDED = 2, /* any number of consumers: fabric_receiver_another */
	FABRIC_RECEIVE_MULTI_BOUNDED = 3
} fabric_receive_kind;

typedef enum fabric_receive_full {
	FABRIC_RECEIVE_HOLD_BACK = 0, /* the sender waits */
	FABRIC_RECEIVE_DISCARD_OLDEST = 1,
	FABRIC_RECEIVE_DISCARD_NEWEST = 2
} fabric_receive_full;

/* Receives through a queue instead of straight from the windows. `capacity` is in messages, for the bounded kinds; `bytes` 0 is 64 MiB. */
int32_t fabric_options_receive_queue(fabric_options *options, int32_t kind, size_t capacity, int32_t full, size_t bytes, fabric_error *error);

/* How FABRIC_HIGHEST, HIGH, NORMAL, LOW and LOWEST share, in this order: bytes in proportion. Unless set, 16 : 8 : 4 : 2 : 1. */
int32_t fabric_options_weights(fabric_options *options, const uint32_t weights[5], fabric_error *error);

typedef enum fabric_waiting {
	FABRIC_SPIN_THEN_PARK = 0, /* looks `spins` times, then sleeps; 2,000 unless set */
	FABRIC_BUSY_WAIT = 1,      /* looks without end: the least latency, a core for it */
	FABRIC_PARK = 2            /* sleeps at once */
} fabric_waiting;

int32_t fabric_options_waiting(fabric_options *options, int32_t waiting, uint32_t spins, fabric_error *error);

typedef enum fabric_progress {
	FABRIC_SERVICE = 0, /* a thread of the channel's own, asleep unless there is something to do */
	FABRIC_CALLER = 1   /* whoever waits in a call, and fabric_channel_progress from an event loop */
} fabric_progress;

int32_t fabric_options_progress(fabric_options *options, int32_t progress, fabric_error *error);

typedef enum fabric_reconnect {
	FABRIC_RECONNECT_ALWAYS = 0, /* another peer may come after the first */
	FABRIC_RECONNECT_NEVER = 1   /* the first peer of each transport is the last */
} fabric_reconnect;

int32_t fabric_options_reconnect(fabric_options *options, int32_t reconnect, fabric_error *error);

/* ---- Channels ---- */

/* Opens a channel; the peer need not be there. Frees the options, also when it fails; only with NULL for a result they stay. */
int32_t fabric_channel_open(fabric_options *options, fabric_channel **channel, fabric_receiver **receiver, fabric_error *error);
void fabric_channel_free(fabric_channel *channel);

typedef enum fabric_state_name {
	FABRIC_LOOKING = 0, /* no peer was there yet */
	FABRIC_UP = 1,      /* `peers` of them; `text` names them */
	FABRIC_LOST = 2,    /* the last one is gone; `text` says who and why */
	FABRIC_GAVE_UP = 3, /* a transport did; `text` says why */
	FABRIC_ENDED = 4    /* closed here */
} fabric_state_name;

typedef struct fabric_state {
	int32_t state; /* fabric_state_name */
	uint32_t peers;
	uint64_t in_doubt;
	char text[488];
} fabric_state;

int32_t fabric_channel_state(const fabric_channel *channel, fabric_state *state, fabric_error *error);

typedef struct fabric_stats {
	uint64_t sent_messages; /* laid into windows */
	uint64_t sent_bytes;    /* of their encodings */
	uint64_t queued_messages;
	uint64_t unread_messages; /* on their way */
	uint64_t links;
	uint64_t links_lost;
	uint64_t received_messages; /* into the receive queue, if there is one */
	uint64_t received_bytes;
} fabric_stats;

int32_t fabric_channel_stats(const fabric_channel *channel, fabric_stats *stats, fabric_error *error);

/* Waits until peers have read everything that was posted. */
int32_t fabric_channel_flush(const fabric_channel *channel, int64_t timeout_ns, fabric_error *error);

/* Takes nothing more, sends what was taken, waits until peers have read it or the time is over, and closes; whatever the code, it is closed then. */
int32_t fabric_channel_close(const fabric_channel *channel, int64_t linger_ns, fabric_error *error);

/* Makes what progress there is to make, without waiting: for FABRIC_CALLER, when one of the descriptors is readable. */
int32_t fabric_channel_progress(const fabric_channel *channel, fabric_error *error);

/* Writes up to `capacity` descriptors to watch for readability, and how many there are. They change when peers come and go: ask again after each
 * fabric_channel_progress. Do not close them. */
int32_t fabric_channel_readiness(const fabric_channel *channel, int *descriptors, size_t capacity, size_t *count, fabric_error *error);

/* ---- Input queues ---- */

typedef enum fabric_queue_kind {
	FABRIC_MONO_UNBOUNDED = 0,         /* one producer; one such queue a thread is the fast way */
	FABRIC_MULTI_UNBOUNDED = 1,        /* any number of producers: fabric_sender_another */
	FABRIC_MULTI_UNBOUNDED_TAGGED = 2, /* a newer message replaces the queued one of its tag: fabric_post_tagged */
	FABRIC_MULTI_BOUNDED = 3,
	FABRIC_MULTI_BOUNDED_TAGGED = 4
} fabric_queue_kind;

typedef enum fabric_priority {
	FABRIC_NORMAL = 0,
	FABRIC_CRITICAL = 1, /* always first */
	FABRIC_HIGHEST = 2,  /* this and the next three share with FABRIC_NORMAL by weight */
	FABRIC_HIGH = 3,
	FABRIC_LOW = 4,
	FABRIC_LOWEST = 5,
	FABRIC_IDLE = 6 /* only when all else is empty */
} fabric_priority;

typedef enum fabric_full {
	FABRIC_BLOCK = 0, /* the sender waits for room */
	FABRIC_REFUSE = 1,
	FABRIC_DISCARD_OLDEST = 2,
	FABRIC_DISCARD_NEWEST = 3
} fabric_full;

typedef struct fabric_queue {
	int32_t kind;     /* fabric_queue_kind */
	int32_t priority; /* fabric_priority */
	int32_t full;     /* fabric_full, of the bounded kinds */
	int32_t zero;
	size_t capacity; /* messages at most, of the bounded kinds */
	size_t bytes;    /* bytes at most; 0 is 64 MiB */
} fabric_queue;

/* A new input queue, and its sender. */
int32_t fabric_channel_sender(const fabric_channel *channel, const fabric_queue *queue, fabric_sender **sender, fabric_error *error);

/* A further producer of the same queue. */
int32_t fabric_sender_another(fabric_sender *sender, fabric_sender **another, fabric_error *error);
void fabric_sender_free(fabric_sender *sender);

/* The longest message that this queue takes, headers included: 24 bytes for the first frame, 8 for each further one, frames padded to 8. */
int32_t fabric_sender_message_bytes_max(fabric_sender *sender, size_t *bytes, fabric_error *error);

/* Posts a message of one frame, copied, and straight into the window when nothing is queued. */
int32_t fabric_post_bytes(fabric_sender *sender, const void *data, size_t length, int64_t timeout_ns, fabric_error *error);

/* Posts a message. Taken, the handle holds an empty message of kind FABRIC_DATA for the next use; not taken, what it held before. */
int32_t fabric_post(fabric_sender *sender, fabric_message *message, int64_t timeout_ns, fabric_error *error);

/* As fabric_post; it replaces the message of this tag that is still queued. */
int32_t fabric_post_tagged(fabric_sender *sender, fabric_message *message, uint64_t tag, int64_t timeout_ns, fabric_error *error);

/* ---- Messages to send ---- */

typedef enum fabric_kind {
	FABRIC_DATA = 0,
	FABRIC_REQUEST = 1, /* `correlation` names it */
	FABRIC_RESPONSE = 2,
	FABRIC_CANCEL = 3,
	FABRIC_GAP = 4,
	FABRIC_PING = 5,
	FABRIC_PONG = 6
} fabric_kind;

int32_t fabric_message_new(int32_t kind, uint64_t correlation, fabric_message **message, fabric_error *error);
void fabric_message_free(fabric_message *message);

/* Drops what it holds and begins anew. */
int32_t fabric_message_reset(fabric_message *message, int32_t kind, uint64_t correlation, fabric_error *error);

/* Append a frame, at most 64 of under 4 GiB: copied now; of memory that stays as it is for ever; of memory that stays as it is until `release` is called,
 * once, on any thread, with what was given here (not if this call fails); of a window, by reference. */
int32_t fabric_message_push_copy(fabric_message *message, const void *data, size_t length, fabric_error *error);
int32_t fabric_message_push_static(fabric_message *message, const void *data, size_t length, fabric_error *error);
typedef void (*fabric_release)(void *context, const void *data, size_t length);
int32_t fabric_message_push_external(fabric_message *message, const void *data, size_t length, fabric_release release, void *context, fabric_error *error);
int32_t fabric_message_push_slice(fabric_message *message, const fabric_slice *slice, fabric_error *error);

/* The application's number for the form of the frame appended last. */
int32_t fabric_message_schema(fabric_message *message, uint16_t schema, fabric_error *error);
int32_t fabric_message_timestamp(fabric_message *message, uint64_t nanoseconds, fabric_error *error);
int32_t fabric_message_tag(fabric_message *message, uint64_t tag, fabric_error *error);

/* Asks that its bytes be zeroed, wherever the fabric held them, when they have been read. */
int32_t fabric_message_erase(fabric_message *message, fabric_error *error);

/* ---- Windows to fill and send by reference ---- */

/* A window of the channel's arena; FABRIC_BUSY while all are in use, or without an arena. */
int32_t fabric_channel_take_window(const fabric_channel *channel, fabric_window **window, fabric_error *error);

/* The bytes that are not filled yet: yours to write until they are filled or the window is freed. */
int32_t fabric_window_spare(fabric_window *window, void **data, size_t *room, fabric_error *error);

/* Declares the next `length` bytes written: from now on nobody changes them. The rest may be written and filled later. */
int32_t fabric_window_fill(fabric_window *window, size_t length, fabric_slice **slice, fabric_error *error);

/* The window is free again when it, all its slices, and all messages that refer to them are gone, at the peer, too. */
void fabric_window_free(fabric_window *window);
int32_t fabric_slice_bytes(const fabric_slice *slice, const void **data, size_t *length, fabric_error *error);
void fabric_slice_free(fabric_slice *slice);

/* ---- Receiving ---- */

/* A further consumer of the same receive queue. */
int32_t fabric_receiver_another(fabric_receiver *receiver, fabric_receiver **another, fabric_error *error);
void fabric_receiver_free(fabric_receiver *receiver);

/* Waits for a message and takes it: frames can be looked at until it is freed. A window of the peer goes back to it then. */
int32_t fabric_receive(fabric_receiver *receiver, int64_t timeout_ns, fabric_received **received, fabric_error *error);
void fabric_received_free(fabric_received *received);

/* Waits for a message and lends it to `use_it`: the fast way, it is read where it lies, or from a buffer that is used again. The view and all that was
 * learnt from it end when the callback returns. */
typedef void (*fabric_use)(void *context, const fabric_view *view);
int32_t fabric_receive_with(fabric_receiver *receiver, int64_t timeout_ns, fabric_use use_it, void *context, fabric_error *error);

/* Lends up to `max` messages that are there, one by one, without waiting; 0 of them is no error. */
int32_t fabric_drain(fabric_receiver *receiver, size_t max, fabric_use use_it, void *context, size_t *count, fabric_error *error);

/* Waits for a message and copies all bytes of all its frames. With FABRIC_TOO_LARGE `length` says how large a buffer must be, and the message is kept for
 * the next call of any kind. */
int32_t fabric_receive_copy(fabric_receiver *receiver, int64_t timeout_ns, void *buffer, size_t size, size_t *length, fabric_error *error);

typedef struct fabric_info {
	int32_t kind;      /* fabric_kind */
	uint32_t flags;    /* 1: timestamp and tag were given; 2: erase */
	uint32_t frames;
	uint32_t extended; /* 1 if timestamp_ns and tag were given, else they are 0 */
	uint64_t correlation;
	uint64_t timestamp_ns;
	uint64_t tag;
	uint64_t payload_bytes;
} fabric_info;

typedef struct fabric_frame {
	const void *data; /* NULL for a window of a peer that is not trusted: it could change; copy it */
	size_t length;
	uint16_t schema;
} fabric_frame;

int32_t fabric_received_info(const fabric_received *received, fabric_info *info, fabric_error *error);
int32_t fabric_received_frame(const fabric_received *received, size_t number, fabric_frame *frame, fabric_error *error);

/* Copies a frame, or all behind each other with FABRIC_ALL_FRAMES. `length` is written with FABRIC_TOO_LARGE, too. */
int32_t fabric_received_copy(const fabric_received *received, size_t number, void *buffer, size_t size, size_t *length, fabric_error *error);

/* The same for a message that is lent. */
int32_t fabric_view_info(const fabric_view *view, fabric_info *info, fabric_error *error);
int32_t fabric_view_frame(const fabric_view *view, size_t number, fabric_frame *frame, fabric_error *error);
int32_t fabric_view_copy(const fabric_view *view, size_t number, void *buffer, size_t size, size_t *length, fabric_error *error);

/* For event loops that wait by themselves, of channels with FABRIC_SERVICE and without a receive queue: a descriptor that becomes readable when a message, a
 * new peer or a death may be there; the receiver's, do not close it. Say that you are about to wait; if `ready` is 1, do not, something is there; else wait
 * until it is readable, and then say that you are awake. */
int32_t fabric_receiver_descriptor(fabric_receiver *receiver, int *descriptor, fabric_error *error);
int32_t fabric_receiver_about_to_wait(fabric_receiver *receiver, int *ready, fabric_error *error);
int32_t fabric_receiver_awake(fabric_receiver *receiver, fabric_error *error);

/* ---- Raw channels: windows only ---- */

/* Opens a raw channel. Frees the options, as fabric_channel_open does. They may not ask for a receive queue. */
int32_t fabric_raw_open(fabric_options *options, fabric_raw **raw, fabric_error *error);

/* Frees it, and what is out of it. FABRIC_MISUSE, and not freed, when another thread has a window taken. */
int32_t fabric_raw_free(fabric_raw *raw, fabric_error *error);
int32_t fabric_raw_window_bytes(fabric_raw *raw, size_t *bytes, fabric_error *error);

/* Leases a window for writing: `size` bytes, those of an earlier use until overwritten. One window at a time is out, for writing or reading, and the thread
 * that took it ships or abandons it. While it is taken the channel makes no other progress. */
int32_t fabric_raw_take(fabric_raw *raw, int64_t timeout_ns, void **data, size_t *size, fabric_error *error);

typedef enum fabric_erase {
	FABRIC_KEEP = 0,
	FABRIC_ZERO = 1 /* the window is zeroed when it comes back */
} fabric_erase;

int32_t fabric_raw_ship(fabric_raw *raw, size_t length, int32_t erase, fabric_error *error);
int32_t fabric_raw_abandon(fabric_raw *raw, fabric_error *error);

/* Leases the peer's next window for reading, until it is disposed of. `data` is NULL, and fabric_raw_copy the way, if the peer is not trusted and could
 * change it. */
int32_t fabric_raw_receive(fabric_raw *raw, int64_t timeout_ns, const void **data, size_t *length, fabric_error *error);
int32_t fabric_raw_copy(fabric_raw *raw, void *buffer, size_t size, size_t *length, fabric_error *error);
int32_t fabric_raw_dispose(fabric_raw *raw, fabric_error *error);

/* As those of a channel, while no window is out. */
int32_t fabric_raw_state(fabric_raw *raw, fabric_state *state, fabric_error *error);
int32_t fabric_raw_flush(fabric_raw *raw, int64_t timeout_ns, fabric_error *error);
int32_t fabric_raw_close(fabric_raw *raw, int64_t linger_ns, fabric_error *error);

#ifdef __cplusplus
}
#endif

#endif
