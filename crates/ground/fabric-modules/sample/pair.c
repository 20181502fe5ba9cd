/* A sample module: `pair:NAME`, windows between two ends of one process, copied once from the sender's memory to the receiver's.
 *
 * It shows each rule of fabric_module.h in little code, and it is what the loader is tested with. Build it:
 *
 *     cc -std=c11 -O2 -fPIC -shared -I include sample/pair.c -o libpair.so
 *
 * SCHEME, VERSION and NAME can be set from outside; the tests build modules that override a built-in scheme and ones that must be refused.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fabric_module.h"

#ifndef SCHEME
#define SCHEME "pair"
#endif
#ifndef VERSION
#define VERSION FABRIC_MODULE_VERSION
#endif
#ifndef SYMBOL
#define SYMBOL fabric_module
#endif

enum { LANES = 2, WINDOWS_MAX = 1024 };

/* One direction of one lane: windows that are free, and windows on their way. */
struct lane {
    uint64_t bytes, count;
    uint8_t **memory;      /* `count` windows for the sender, `count` for the receiver behind them */
    uint32_t *free, frees; /* the sender's, a stack */
    uint32_t *spare, spares; /* the receiver's, a stack */
    struct {
        uint32_t window;
        uint64_t used;
    } *queue; /* a ring of `count` */
    uint64_t head, tail;
    uint64_t read; /* messages read */
};

struct end {
    struct pair *pair;
    int side;
    struct lane send[LANES];
    int fd;
    int asleep, finished, cut, freed;
};

/* Both ends; freed with the second. */
struct pair {
    pthread_mutex_t lock;
    struct end ends[2];
};

/* An end that waits for the other. */
struct connector {
    struct connector *next;
    char name[256];
    struct fabric_settings settings;
    int fd, queued;
    struct end *met;
};

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct connector *table;

static int system_error(void) { return FABRIC_SYSTEM - errno; }

static void wake(int fd)
{
    uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one);
    (void)written; /* full means that it is awake already */
}

static void say(struct fabric_text *why, const char *text) { snprintf(why->bytes, sizeof why->bytes, "%s", text); }

/* ---- lanes ---- */

static int lane_make(struct lane *lane, uint64_t bytes, uint64_t count)
{
    lane->bytes = (bytes + 7) & ~(uint64_t)7;
    lane->count = count;
    lane->memory = calloc(2 * count, sizeof *lane->memory);
    lane->free = calloc(count, sizeof *lane->free);
    lane->spare = calloc(count, sizeof *lane->spare);
    lane->queue = calloc(count, sizeof *lane->queue);
    if (!lane->memory || !lane->free || !lane->spare || !lane->queue)
        return -1;
    for (uint64_t n = 0; n < 2 * count; n++)
        if (!(lane->memory[n] = calloc(1, lane->bytes)))
            return -1;
    for (uint32_t n = 0; n < count; n++) {
        lane->free[lane->frees++] = n;
        lane->spare[lane->spares++] = (uint32_t)count + n;
    }
    return 0;
}

static void lane_free(struct lane *lane)
{
    for (uint64_t n = 0; lane->memory && n < 2 * lane->count; n++)
        free(lane->memory[n]);
    free(lane->memory);
    free(lane->free);
    free(lane->spare);
    free(lane->queue);
}

static void pair_free(struct pair *pair)
{
    for (int side = 0; side < 2; side++) {
        for (int lane = 0; lane < LANES; lane++)
            lane_free(&pair->ends[side].send[lane]);
        if (pair->ends[side].fd >= 0)
            close(pair->ends[side].fd);
    }
    pthread_mutex_destroy(&pair->lock);
    free(pair);
}

static struct pair *pair_make(const struct fabric_settings *settings[2])
{
    struct pair *pair = calloc(1, sizeof *pair);
    if (!pair)
        return NULL;
    pthread_mutex_init(&pair->lock, NULL);
    pair->ends[0].fd = pair->ends[1].fd = -1;
    for (int side = 0; side < 2; side++) {
        struct end *end = &pair->ends[side];
        end->pair = pair;
        end->side = side;
        end->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (end->fd < 0 || lane_make(&end->send[FABRIC_BULK], settings[side]->bulk_bytes, settings[side]->bulk_count) ||
            lane_make(&end->send[FABRIC_URGENT], settings[side]->urgent_bytes, settings[side]->urgent_count)) {
            pair_free(pair);
            return NULL;
        }
    }
    return pair;
}

/* ---- what holds under the lock ---- */

static struct end *other(struct end *end) { return &end->pair->ends[1 - end->side]; }

static int gone(struct end *end)
{
    if (end->cut)
        return FABRIC_DIED;
    if (other(end)->cut || other(end)->freed)
        return other(end)->finished ? FABRIC_CLOSED : FABRIC_DIED;
    return FABRIC_OK;
}

static void rouse(struct end *end)
{
    if (end->asleep && !end->freed) {
        end->asleep = 0;
        wake(end->fd);
    }
}

/* ---- the table ---- */

static int module_available(struct fabric_text *why)
{
    (void)why;
    return FABRIC_OK;
}

static int module_limits(const char *uri, struct fabric_limits *limits, struct fabric_text *why)
{
    const char *options = strchr(uri, '?');
    if (options && strncmp(options, "?via=", 5)) {
        say(why, options + 1);
        return FABRIC_ADDRESS;
    }
    limits->window_bytes_max = 16 << 20;
    limits->windows_max = WINDOWS_MAX;
    return FABRIC_OK;
}

static int module_open(const char *uri, const struct fabric_settings *settings, void **out, struct fabric_text *why)
{
    struct connector *connector = calloc(1, sizeof *connector);
    if (!connector)
        return FABRIC_SYSTEM - ENOMEM;
    size_t length = strcspn(uri, "?");
    if (length >= sizeof connector->name) {
        free(connector);
        say(why, "a name of over 255 bytes");
        return FABRIC_ADDRESS;
    }
    memcpy(connector->name, uri, length);
    connector->settings = *settings;
    connector->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (connector->fd < 0) {
        int status = system_error();
        free(connector);
        return status;
    }
    *out = connector;
    return FABRIC_OK;
}

static int module_poll(void *opaque, void **link, uint64_t *again_ns, struct fabric_text *why)
{
    struct connector *self = opaque;
    uint64_t count;
    int status = FABRIC_NONE;
    (void)again_ns;
    pthread_mutex_lock(&table_lock);
    if (read(self->fd, &count, sizeof count) < 0 && errno != EAGAIN)
        status = system_error();
    if (self->met) {
        *link = self->met;
        self->met = NULL;
        status = FABRIC_OK;
    } else if (!self->queued) {
        struct connector **place = &table;
        while (*place && (strcmp((*place)->name, self->name) || (*place)->settings.role == self->settings.role))
            place = &(*place)->next;
        if (*place) {
            struct connector *peer = *place;
            const struct fabric_settings *settings[2] = {&peer->settings, &self->settings};
            struct pair *pair = pair_make(settings);
            if (pair) {
                *place = peer->next;
                peer->queued = 0;
                peer->met = &pair->ends[0];
                wake(peer->fd);
                *link = &pair->ends[1];
                status = FABRIC_OK;
            } else {
                say(why, "no memory or descriptors for a pair");
                status = FABRIC_REFUSED;
            }
        } else {
            self->next = table;
            table = self;
            self->queued = 1;
        }
    }
    pthread_mutex_unlock(&table_lock);
    return status;
}

static int module_connector_fd(void *connector) { return ((struct connector *)connector)->fd; }

static void module_link_free(void *link);

static void module_connector_free(void *opaque)
{
    struct connector *self = opaque;
    pthread_mutex_lock(&table_lock);
    for (struct connector **place = &table; *place; place = &(*place)->next)
        if (*place == self) {
            *place = self->next;
            break;
        }
    pthread_mutex_unlock(&table_lock);
    if (self->met)
        module_link_free(self->met);
    close(self->fd);
    free(self);
}

static int module_take(void *link, uint32_t number, struct fabric_window *window)
{
    struct end *end = link;
    struct lane *lane = &end->send[number];
    pthread_mutex_lock(&end->pair->lock);
    int status = gone(end);
    if (status == FABRIC_OK && lane->frees == 0)
        status = FABRIC_NONE;
    if (status == FABRIC_OK) {
        uint32_t index = lane->free[--lane->frees];
        *window = (struct fabric_window){.bytes = lane->memory[index], .size = lane->bytes, .used = 0, .token = index};
    }
    pthread_mutex_unlock(&end->pair->lock);
    return status;
}

/* The window joins the queue; its bytes are copied when the receiver asks. */
static int module_ship(void *link, uint32_t number, const struct fabric_window *window)
{
    struct end *end = link;
    struct lane *lane = &end->send[number];
    pthread_mutex_lock(&end->pair->lock);
    int status = gone(end);
    if (status == FABRIC_OK) {
        uint64_t at = lane->tail++ % lane->count;
        lane->queue[at].window = (uint32_t)window->token;
        lane->queue[at].used = window->used;
        rouse(other(end));
    }
    pthread_mutex_unlock(&end->pair->lock);
    return status;
}

static int module_progress(void *link)
{
    struct end *end = link;
    pthread_mutex_lock(&end->pair->lock);
    int status = gone(end);
    pthread_mutex_unlock(&end->pair->lock);
    return status;
}

static int module_drained(void *link)
{
    struct end *end = link;
    pthread_mutex_lock(&end->pair->lock);
    int status = gone(end);
    for (int lane = 0; status == FABRIC_OK && lane < LANES; lane++)
        if (end->send[lane].head != end->send[lane].tail)
            status = FABRIC_NONE;
    pthread_mutex_unlock(&end->pair->lock);
    return status;
}

static uint64_t module_read_by_peer(void *link, uint32_t lane)
{
    struct end *end = link;
    pthread_mutex_lock(&end->pair->lock);
    uint64_t read = end->send[lane].read;
    pthread_mutex_unlock(&end->pair->lock);
    return read;
}

static void module_finish(void *link)
{
    struct end *end = link;
    pthread_mutex_lock(&end->pair->lock);
    end->finished = 1;
    rouse(other(end));
    pthread_mutex_unlock(&end->pair->lock);
}

static int module_receive(void *link, uint32_t number, struct fabric_window *window)
{
    struct end *end = link;
    struct lane *lane = &other(end)->send[number];
    pthread_mutex_lock(&end->pair->lock);
    int status = FABRIC_NONE;
    if (end->cut) {
        status = FABRIC_DIED;
    } else if (lane->head == lane->tail) {
        status = gone(end) == FABRIC_OK && !other(end)->finished ? FABRIC_NONE : gone(end);
        if (status == FABRIC_OK)
            status = FABRIC_CLOSED; /* it has finished, and everything was handed out */
    } else if (lane->spares > 0) {
        uint32_t from = lane->queue[lane->head % lane->count].window, to = lane->spare[--lane->spares];
        uint64_t used = lane->queue[lane->head % lane->count].used;
        lane->head++;
        memcpy(lane->memory[to], lane->memory[from], used);
        lane->free[lane->frees++] = from;
        *window = (struct fabric_window){.bytes = lane->memory[to], .size = lane->bytes, .used = used, .token = to};
        rouse(other(end));
        status = FABRIC_OK;
    }
    pthread_mutex_unlock(&end->pair->lock);
    return status;
}

static void module_dispose(void *link, uint32_t number, const struct fabric_window *window)
{
    struct end *end = link;
    struct lane *lane = &other(end)->send[number];
    pthread_mutex_lock(&end->pair->lock);
    lane->spare[lane->spares++] = (uint32_t)window->token;
    pthread_mutex_unlock(&end->pair->lock);
}

static void module_read(void *link, uint32_t lane, uint64_t messages)
{
    struct end *end = link;
    pthread_mutex_lock(&end->pair->lock);
    other(end)->send[lane].read = messages;
    rouse(other(end));
    pthread_mutex_unlock(&end->pair->lock);
}

static int module_link_fd(void *link) { return ((struct end *)link)->fd; }

static int module_look(void *link)
{
    struct end *end = link;
    uint64_t count;
    pthread_mutex_lock(&end->pair->lock);
    ssize_t taken = read(end->fd, &count, sizeof count);
    (void)taken; /* nothing there is fine */
    int status = gone(end);
    pthread_mutex_unlock(&end->pair->lock);
    return status;
}

static void module_arm(void *link)
{
    struct end *end = link;
    pthread_mutex_lock(&end->pair->lock);
    end->asleep = 1;
    pthread_mutex_unlock(&end->pair->lock);
}

static void module_disarm(void *link)
{
    struct end *end = link;
    pthread_mutex_lock(&end->pair->lock);
    end->asleep = 0;
    pthread_mutex_unlock(&end->pair->lock);
}

static void module_ring(void *link)
{
    struct end *end = link;
    pthread_mutex_lock(&end->pair->lock);
    rouse(other(end));
    pthread_mutex_unlock(&end->pair->lock);
}

static void module_peer(void *link, struct fabric_peer *peer)
{
    (void)link;
    snprintf(peer->name, sizeof peer->name, "in this process, by the sample module");
    peer->pid = getpid();
    peer->user = -1;
}

static void module_cut(void *link)
{
    struct end *end = link;
    pthread_mutex_lock(&end->pair->lock);
    end->cut = 1;
    end->asleep = other(end)->asleep = 1;
    rouse(end);
    rouse(other(end));
    pthread_mutex_unlock(&end->pair->lock);
}

static void module_link_free(void *link)
{
    struct end *end = link;
    struct pair *pair = end->pair;
    pthread_mutex_lock(&pair->lock);
    end->freed = 1;
    int last = other(end)->freed;
    if (!last) {
        other(end)->asleep = 1;
        rouse(other(end));
    }
    pthread_mutex_unlock(&pair->lock);
    if (last)
        pair_free(pair);
}

__attribute__((visibility("default"))) const struct fabric_module SYMBOL = {
    .size = sizeof(struct fabric_module),
    .version = VERSION,
    .scheme = SCHEME,
    .name = SCHEME " (sample module)",
    .capabilities = 0,
    .available = module_available,
    .limits = module_limits,
    .open = module_open,
    .poll = module_poll,
    .connector_fd = module_connector_fd,
    .connector_free = module_connector_free,
    .take = module_take,
    .ship = module_ship,
    .progress = module_progress,
    .drained = module_drained,
    .read_by_peer = module_read_by_peer,
    .finish = module_finish,
    .receive = module_receive,
    .dispose = module_dispose,
    .read = module_read,
    .link_fd = module_link_fd,
    .look = module_look,
    .arm = module_arm,
    .disarm = module_disarm,
    .ring = module_ring,
    .peer = module_peer,
    .cut = module_cut,
    .link_free = module_link_free,
};
