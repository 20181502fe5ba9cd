/* A transport in a shared library: what it exports and what it promises. Version 1.
 *
 * The library exports one constant, `fabric_module`, of the type below. The host checks a signature over the whole file before it loads it, so no
 * line of it runs unless a key that the host was told to trust has signed it. Then it checks `size` and `version`, and that no function is missing.
 * A module is never unloaded.
 *
 * A module moves windows: the host fills one, the module carries its bytes to the peer, whole and in order for each lane, and the host there reads
 * them. What is in them is not the module's business. Windows are plain memory, given by address and length.
 *
 * Nothing here may block, throw, unwind, longjmp or call exit. Everything non-blocking is driven by readiness: `connector_fd` and `link_fd`.
 *
 * Threads: of one link, `take`, `ship`, `progress`, `drained`, `read_by_peer` and `finish` are called by one thread at a time, `receive`, `dispose`
 * and `read` by one thread at a time, both at once; the rest by any threads at once. Different connectors and links are independent.
 */
#ifndef FABRIC_MODULE_H
#define FABRIC_MODULE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FABRIC_MODULE_VERSION 1u

/* What functions return. Under FABRIC_SYSTEM: FABRIC_SYSTEM - errno. */
enum {
    FABRIC_OK = 0,         /* done */
    FABRIC_NONE = 1,       /* nothing now: no free window, no window come, the peers have not met, not drained */
    FABRIC_CLOSED = -1,    /* the peer closed in good order */
    FABRIC_DIED = -2,      /* the peer ended or the connection broke */
    FABRIC_VIOLATION = -3, /* the peer broke the module's protocol */
    FABRIC_ADDRESS = -4,   /* limits, open: the address is wrong; `why` says the part */
    FABRIC_TAKEN = -5,     /* open, poll: someone else listens there */
    FABRIC_REFUSED = -6,   /* open, poll, available: not possible; `why` says what */
    FABRIC_SYSTEM = -1000
};

enum { FABRIC_BULK = 0, FABRIC_URGENT = 1 };   /* lanes; urgent windows are read first */
enum { FABRIC_LISTEN = 0, FABRIC_CONNECT = 1 }; /* roles; either may start first */

/* Capabilities. */
#define FABRIC_KNOWS_USER 1u       /* the kernel vouches for the peer's user */
#define FABRIC_REGISTERS_MEMORY 2u /* windows are registered with a device */

/* Every window begins with a header of so many bytes, which the host writes and checks. */
#define FABRIC_WINDOW_HEADER 32u

/* Text for people, ended by a zero byte. */
struct fabric_text {
    char bytes[256];
};

struct fabric_limits {
    uint64_t window_bytes_max;
    uint64_t windows_max;
};

struct fabric_settings {
    uint32_t size; /* of this structure */
    uint32_t role;
    uint64_t bulk_bytes;   /* windows that this side sends, by lane: size and number */
    uint64_t bulk_count;
    uint64_t urgent_bytes;
    uint64_t urgent_count;
    uint64_t accept_bytes; /* the largest window that the peer may send */
    uint64_t accept_count; /* and how many of them, in each lane */
};

/* A window. `bytes` lies on 8 bytes and `size` is a multiple of 8. */
struct fabric_window {
    uint8_t *bytes;
    uint64_t size;
    uint64_t used;  /* ship, receive: bytes from the beginning that count; at least FABRIC_WINDOW_HEADER */
    uint64_t token; /* the module's own; the host gives back what it was given */
};

struct fabric_peer {
    char name[128]; /* for logs, ended by a zero byte */
    int64_t pid;    /* -1: not known */
    int64_t user;   /* -1: not known */
};

struct fabric_module {
    uint32_t size;    /* sizeof(struct fabric_module) when the module was compiled */
    uint32_t version; /* FABRIC_MODULE_VERSION */
    const char *scheme; /* lower-case letters and digits */
    const char *name;   /* for people */
    uint32_t capabilities;
    uint32_t reserved; /* 0 */

    /* Whether this machine has what the module needs: FABRIC_OK, or FABRIC_REFUSED and what is missing. */
    int (*available)(struct fabric_text *why);
    int (*limits)(const char *uri, struct fabric_limits *limits, struct fabric_text *why);

    /* Begins to listen or to dial. */
    int (*open)(const char *uri, const struct fabric_settings *settings, void **connector, struct fabric_text *why);
    /* FABRIC_OK: the peers have met, `*link` is the link. FABRIC_NONE: not yet; look again when `connector_fd` is readable, or after `*again_ns`
     * nanoseconds if that is not 0. */
    int (*poll)(void *connector, void **link, uint64_t *again_ns, struct fabric_text *why);
    int (*connector_fd)(void *connector); /* -1: none */
    void (*connector_free)(void *connector);

    /* Sending. A window that was taken is the host's alone until it is shipped. At most one of each lane is taken and not shipped. */
    int (*take)(void *link, uint32_t lane, struct fabric_window *window);
    int (*ship)(void *link, uint32_t lane, const struct fabric_window *window);
    int (*progress)(void *link);
    int (*drained)(void *link); /* FABRIC_OK: the peer has taken all that was shipped */
    uint64_t (*read_by_peer)(void *link, uint32_t lane);
    void (*finish)(void *link); /* nothing more will be shipped; tell the peer */

    /* Receiving. A window that was received does not change until it is disposed of. After the peer has gone, windows that it had shipped are still
     * handed out. */
    int (*receive)(void *link, uint32_t lane, struct fabric_window *window);
    void (*dispose)(void *link, uint32_t lane, const struct fabric_window *window);
    void (*read)(void *link, uint32_t lane, uint64_t messages); /* so many messages of the lane have been read; tell the peer */

    /* Waking. After `arm`, something that the peer does makes `link_fd` readable; `look` takes that away again. */
    int (*link_fd)(void *link); /* -1: none */
    int (*look)(void *link);
    void (*arm)(void *link);
    void (*disarm)(void *link);
    void (*ring)(void *link);
    void (*peer)(void *link, struct fabric_peer *peer);
    void (*cut)(void *link); /* break off: from now on the peer sees this side gone, closed if it had finished, else died */

    /* The last call. Windows of the link are not touched any more, and their memory may go. */
    void (*link_free)(void *link);
};

/* Exported by every module. */
extern const struct fabric_module fabric_module;

#ifdef __cplusplus
}
#endif

#endif
