/* What the header promises of pointers, handles, errors, queues and raw channels. Prints what is wrong; says so by its exit code. */
#include <fabric.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000000000)

static int wrong;

#define EXPECT(condition)                                                     \
	do {                                                                  \
		if (!(condition)) {                                           \
			printf("line %d: not so: %s\n", __LINE__, #condition); \
			wrong = 1;                                            \
		}                                                             \
	} while (0)

/* Opens a pair of channels between which `uri` is. */
struct side {
	fabric_channel *channel;
	fabric_receiver *receiver;
};

static fabric_options *options(const char *uri, int listens)
{
	fabric_options *made = NULL;
	EXPECT(fabric_options_new(&made, NULL) == FABRIC_OK);
	EXPECT((listens ? fabric_options_listen : fabric_options_connect)(made, uri, NULL) == FABRIC_OK);
	return made;
}

static struct side open_side(fabric_options *made)
{
	struct side side = {NULL, NULL};
	EXPECT(fabric_channel_open(made, &side.channel, &side.receiver, NULL) == FABRIC_OK);
	return side;
}

static void close_side(struct side side)
{
	fabric_receiver_free(side.receiver);
	fabric_channel_free(side.channel);
}

static void null_pointers(void)
{
	fabric_error error;
	size_t size;
	int number;
	fabric_state state;
	fabric_stats stats;
	fabric_info info;
	fabric_frame frame;
	void *data;
	const void *bytes;
	EXPECT(fabric_options_new(NULL, &error) == FABRIC_MISUSE);
	EXPECT(strstr(error.text, "NULL") && error.text_length == strlen(error.text) && error.code == FABRIC_MISUSE);
	EXPECT(fabric_options_new(NULL, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_schemes(NULL, 5, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_options_name(NULL, "x", NULL) == FABRIC_MISUSE);
	EXPECT(fabric_options_listen(NULL, "x", NULL) == FABRIC_MISUSE);
	EXPECT(fabric_options_connect(NULL, "x", NULL) == FABRIC_MISUSE);
	EXPECT(fabric_options_windows(NULL, 0, 4096, 4, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_options_arena(NULL, 4096, 4, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_options_trust(NULL, 0, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_options_user(NULL, 0, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_options_receive_queue(NULL, 0, 0, 0, 0, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_options_weights(NULL, NULL, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_options_waiting(NULL, 0, 0, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_options_progress(NULL, 0, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_options_reconnect(NULL, 0, NULL) == FABRIC_MISUSE);
	struct side side = {NULL, NULL};
	EXPECT(fabric_channel_open(NULL, &side.channel, &side.receiver, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_channel_state(NULL, &state, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_channel_stats(NULL, &stats, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_channel_flush(NULL, 0, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_channel_close(NULL, 0, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_channel_progress(NULL, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_channel_readiness(NULL, &number, 1, &size, NULL) == FABRIC_MISUSE);
	fabric_queue queue = {0};
	fabric_sender *sender;
	EXPECT(fabric_channel_sender(NULL, &queue, &sender, NULL) == FABRIC_MISUSE);
	fabric_window *window;
	EXPECT(fabric_channel_take_window(NULL, &window, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_sender_another(NULL, &sender, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_sender_message_bytes_max(NULL, &size, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_post_bytes(NULL, "", 0, 0, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_post(NULL, NULL, 0, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_post_tagged(NULL, NULL, 0, 0, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_message_new(0, 0, NULL, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_message_reset(NULL, 0, 0, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_message_push_copy(NULL, "x", 1, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_message_push_static(NULL, "x", 1, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_message_push_external(NULL, "x", 1, NULL, NULL, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_message_push_slice(NULL, NULL, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_message_schema(NULL, 0, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_message_timestamp(NULL, 0, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_message_tag(NULL, 0, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_message_erase(NULL, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_window_spare(NULL, &data, &size, NULL) == FABRIC_MISUSE);
	fabric_slice *slice;
	EXPECT(fabric_window_fill(NULL, 0, &slice, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_slice_bytes(NULL, &bytes, &size, NULL) == FABRIC_MISUSE);
	fabric_receiver *receiver;
	fabric_received *received;
	EXPECT(fabric_receiver_another(NULL, &receiver, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_receive(NULL, 0, &received, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_receive_with(NULL, 0, NULL, NULL, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_drain(NULL, 1, NULL, NULL, &size, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_receive_copy(NULL, 0, &number, sizeof number, &size, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_receiver_descriptor(NULL, &number, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_receiver_about_to_wait(NULL, &number, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_receiver_awake(NULL, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_received_info(NULL, &info, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_received_frame(NULL, 0, &frame, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_received_copy(NULL, 0, &number, sizeof number, &size, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_view_info(NULL, &info, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_view_frame(NULL, 0, &frame, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_view_copy(NULL, 0, &number, sizeof number, &size, NULL) == FABRIC_MISUSE);
	fabric_raw *raw;
	EXPECT(fabric_raw_open(NULL, &raw, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_raw_window_bytes(NULL, &size, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_raw_take(NULL, 0, &data, &size, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_raw_ship(NULL, 0, 0, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_raw_abandon(NULL, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_raw_receive(NULL, 0, &bytes, &size, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_raw_copy(NULL, &number, sizeof number, &size, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_raw_dispose(NULL, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_raw_state(NULL, &state, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_raw_flush(NULL, 0, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_raw_close(NULL, 0, NULL) == FABRIC_MISUSE);
	/* Freeing nothing is nothing. */
	fabric_options_free(NULL);
	fabric_channel_free(NULL);
	fabric_sender_free(NULL);
	fabric_message_free(NULL);
	fabric_window_free(NULL);
	fabric_slice_free(NULL);
	fabric_receiver_free(NULL);
	fabric_received_free(NULL);
	EXPECT(fabric_raw_free(NULL, NULL) == FABRIC_OK);
}

/* The same with NULL for results, where there is a handle. */
static void null_results(void)
{
	fabric_options *made = options("inproc:null-results", 1);
	EXPECT(fabric_options_name(made, NULL, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_options_weights(made, NULL, NULL) == FABRIC_MISUSE);
	fabric_channel *channel = NULL;
	fabric_receiver *receiver = NULL;
	EXPECT(fabric_channel_open(made, NULL, &receiver, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_channel_open(made, &channel, NULL, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_channel_open(made, &channel, &receiver, NULL) == FABRIC_OK);
	EXPECT(fabric_channel_state(channel, NULL, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_channel_stats(channel, NULL, NULL) == FABRIC_MISUSE);
	fabric_queue queue = {0};
	fabric_sender *sender = NULL;
	EXPECT(fabric_channel_sender(channel, &queue, NULL, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_channel_sender(channel, NULL, &sender, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_channel_sender(channel, &queue, &sender, NULL) == FABRIC_OK);
	EXPECT(fabric_sender_message_bytes_max(sender, NULL, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_sender_another(sender, NULL, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_post_bytes(sender, NULL, 1, 0, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_post(sender, NULL, 0, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_receive(receiver, 0, NULL, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_receive_with(receiver, 0, NULL, NULL, NULL) == FABRIC_MISUSE);
	EXPECT(fabric_receive_copy(receiver, 0, NULL, 0, NULL, NULL) == FABRIC_MISUSE);
	fabric_sender_free(sender);
	fabric_receiver_free(receiver);
	fabric_channel_free(channel);
}

static void errors(void)
{
	fabric_error error;
	char text[64];
	EXPECT(fabric_abi() == FABRIC_ABI);
	EXPECT(fabric_schemes(text, sizeof text, NULL) == FABRIC_OK && strstr(text, "inproc") && strstr(text, "ipc") && strstr(text, "tcp"));
	EXPECT(fabric_schemes(text, 2, &error) == FABRIC_TOO_LARGE && error.limit > 2);
	struct side side;
	EXPECT(fabric_channel_open(options("no colon", 1), &side.channel, &side.receiver, &error) == FABRIC_ADDRESS);
	EXPECT(fabric_channel_open(options("carrier:pigeon", 1), &side.channel, &side.receiver, &error) == FABRIC_UNAVAILABLE);
	EXPECT(strstr(error.text, "carrier"));
	fabric_options *made = options("inproc:errors", 1);
	EXPECT(fabric_options_listen(made, "\xff", &error) == FABRIC_MISUSE && strstr(error.text, "UTF-8"));
	EXPECT(fabric_options_trust(made, 2, &error) == FABRIC_MISUSE && strstr(error.text, "trust"));
	EXPECT(fabric_options_trust(made, -1, &error) == FABRIC_MISUSE);
	EXPECT(fabric_options_waiting(made, 3, 0, &error) == FABRIC_MISUSE);
	EXPECT(fabric_options_windows(made, 0, 8, 1, &error) == FABRIC_MISUSE);
	EXPECT(fabric_options_receive_queue(made, FABRIC_RECEIVE_MONO_BOUNDED, 0, 0, 0, &error) == FABRIC_MISUSE);
	EXPECT(fabric_options_arena(made, SIZE_MAX, 1, &error) == FABRIC_MISUSE);
	EXPECT(fabric_options_arena(made, 4096, SIZE_MAX, &error) == FABRIC_SYSTEM);
	uint32_t weights[5] = {1, 1, 0, 1, 1};
	EXPECT(fabric_options_weights(made, weights, &error) == FABRIC_MISUSE && strstr(error.text, "starve"));
	EXPECT(fabric_options_windows(made, FABRIC_BULK, 4096, 4, &error) == FABRIC_OK);
	side = open_side(made);
	fabric_queue queue = {FABRIC_MULTI_BOUNDED, 0, FABRIC_REFUSE, 0, 0, 0};
	fabric_sender *sender;
	EXPECT(fabric_channel_sender(side.channel, &queue, &sender, &error) == FABRIC_MISUSE);
	queue.capacity = 2;
	EXPECT(fabric_channel_sender(side.channel, &queue, &sender, &error) == FABRIC_OK);
	size_t most;
	EXPECT(fabric_sender_message_bytes_max(sender, &most, &error) == FABRIC_OK && most == 4096 - 40);
	static char large[8192];
	EXPECT(fabric_post_bytes(sender, large, sizeof large, 0, &error) == FABRIC_TOO_LARGE && error.limit == most);
	/* Nobody is there, so messages wait, until there is no room; what is not taken stays with us. */
	EXPECT(fabric_post_bytes(sender, large, 10, 0, &error) == FABRIC_OK);
	EXPECT(fabric_post_bytes(sender, large, 10, 0, &error) == FABRIC_OK);
	fabric_message *message;
	EXPECT(fabric_message_new(FABRIC_PING, 5, &message, &error) == FABRIC_OK);
	EXPECT(fabric_message_new(7, 5, &message, &error) == FABRIC_MISUSE);
	EXPECT(fabric_message_push_copy(message, "kept", 4, &error) == FABRIC_OK);
	/* Some messages leave the queue for the hand of the pump. */
	int32_t code;
	for (int n = 0; n < 3 && (code = fabric_post_bytes(sender, large, 10, 0, &error)) == FABRIC_OK; n++)
		;
	EXPECT(fabric_post(sender, message, 0, &error) == FABRIC_BUSY && strstr(error.text, "inproc:errors"));
	EXPECT(fabric_channel_flush(side.channel, 1000000, &error) == FABRIC_TIMED_OUT);
	fabric_state state;
	EXPECT(fabric_channel_state(side.channel, &state, &error) == FABRIC_OK && state.state == FABRIC_LOOKING);
	size_t length;
	EXPECT(fabric_receive_copy(side.receiver, 0, large, sizeof large, &length, &error) == FABRIC_TIMED_OUT);
	/* The peer comes; the message that was refused goes as it was. */
	struct side peer = open_side(options("inproc:errors", 0));
	while (fabric_post(sender, message, SECOND, &error) == FABRIC_BUSY)
		;
	do {
		EXPECT(fabric_receive_copy(peer.receiver, 10 * SECOND, large, 2, &length, &error) == FABRIC_TOO_LARGE && length > 2);
		EXPECT(fabric_receive_copy(peer.receiver, 10 * SECOND, large, sizeof large, &length, &error) == FABRIC_OK);
	} while (!wrong && length != 4);
	EXPECT(!memcmp(large, "kept", 4));
	fabric_message_free(message);
	fabric_sender_free(sender);
	EXPECT(fabric_channel_close(side.channel, SECOND, &error) == FABRIC_OK);
	EXPECT(fabric_receive_copy(peer.receiver, 10 * SECOND, large, sizeof large, &length, &error) == FABRIC_PEER_GONE);
	/* The peer was let go of, which is told once at most. */
	if (fabric_receive_copy(side.receiver, 0, large, sizeof large, &length, &error) != FABRIC_CLOSED)
		EXPECT(error.code == FABRIC_PEER_GONE);
	EXPECT(fabric_receive_copy(side.receiver, 0, large, sizeof large, &length, &error) == FABRIC_CLOSED);
	close_side(side);
	close_side(peer);
}

static int released;

static void release(void *context, const void *data, size_t length)
{
	EXPECT(context == &released && length == 3 && !memcmp(data, "ext", 3));
	released++;
}

/* A callback that uses the handle it was called from is refused, and does no harm. */
struct again {
	fabric_receiver *receiver;
	int32_t code;
	int calls;
};

static void use_again(void *context, const fabric_view *view)
{
	struct again *again = context;
	size_t length;
	char byte;
	fabric_info info;
	EXPECT(fabric_view_info(view, &info, NULL) == FABRIC_OK && info.frames == 1);
	EXPECT(fabric_view_copy(view, FABRIC_ALL_FRAMES, &byte, 1, &length, NULL) == FABRIC_OK && byte == 'y' && length == 1);
	again->code = fabric_receive_copy(again->receiver, 0, &byte, 1, &length, NULL);
	again->calls++;
}

static void messages(void)
{
	fabric_error error;
	struct side one = open_side(options("inproc:messages", 1)), two = open_side(options("inproc:messages", 0));
	fabric_queue queue = {FABRIC_MULTI_UNBOUNDED, FABRIC_HIGH, 0, 0, 0, 0};
	fabric_sender *sender, *other;
	EXPECT(fabric_channel_sender(one.channel, &queue, &sender, &error) == FABRIC_OK);
	EXPECT(fabric_sender_another(sender, &other, &error) == FABRIC_OK);
	fabric_message *message;
	EXPECT(fabric_message_new(FABRIC_DATA, 0, &message, &error) == FABRIC_OK);
	for (int n = 0; n < 64; n++)
		EXPECT(fabric_message_push_external(message, "ext", 3, release, &released, &error) == FABRIC_OK);
	EXPECT(fabric_message_push_external(message, "ext", 3, release, &released, &error) == FABRIC_TOO_LARGE && error.limit == 64);
	EXPECT(fabric_message_push_external(message, "ext", 3, NULL, &released, &error) == FABRIC_MISUSE);
	EXPECT(released == 0);
	EXPECT(fabric_post(other, message, SECOND, &error) == FABRIC_OK);
	fabric_received *received;
	EXPECT(fabric_receive(two.receiver, 10 * SECOND, &received, &error) == FABRIC_OK);
	EXPECT(released == 64);
	char all[192];
	size_t length;
	EXPECT(fabric_received_copy(received, FABRIC_ALL_FRAMES, all, sizeof all, &length, &error) == FABRIC_OK && length == 192);
	EXPECT(fabric_received_copy(received, 63, all, 2, &length, &error) == FABRIC_TOO_LARGE && length == 3 && error.limit == 2);
	EXPECT(fabric_received_copy(received, 64, all, 2, &length, &error) == FABRIC_MISUSE);
	fabric_frame frame;
	EXPECT(fabric_received_frame(received, 64, &frame, &error) == FABRIC_MISUSE);
	EXPECT(fabric_received_frame(received, 0, &frame, &error) == FABRIC_OK && frame.length == 3 && !memcmp(frame.data, "ext", 3));
	fabric_received_free(received);
	/* Dropped unsent, it is released, too. */
	EXPECT(fabric_message_push_external(message, "ext", 3, release, &released, &error) == FABRIC_OK);
	EXPECT(fabric_message_reset(message, FABRIC_DATA, 0, &error) == FABRIC_OK && released == 65);
	EXPECT(fabric_message_push_copy(message, "y", 1, &error) == FABRIC_OK && fabric_message_erase(message, &error) == FABRIC_OK);
	EXPECT(fabric_message_tag(message, 3, &error) == FABRIC_OK);
	EXPECT(fabric_post(sender, message, SECOND, &error) == FABRIC_OK);
	struct again again = {two.receiver, FABRIC_OK, 0};
	EXPECT(fabric_receive_with(two.receiver, 10 * SECOND, use_again, &again, &error) == FABRIC_OK);
	EXPECT(again.calls == 1 && again.code == FABRIC_MISUSE);
	EXPECT(fabric_post_bytes(sender, "y", 1, SECOND, &error) == FABRIC_OK && fabric_post_bytes(sender, "y", 1, SECOND, &error) == FABRIC_OK);
	EXPECT(fabric_drain(two.receiver, 10, use_again, &again, &length, &error) == FABRIC_OK && length == 2 && again.calls == 3);
	EXPECT(fabric_drain(two.receiver, 10, use_again, &again, &length, &error) == FABRIC_OK && length == 0);
	fabric_message_free(message);
	fabric_sender_free(sender);
	fabric_sender_free(other);
	close_side(one);
	close_side(two);
}

static void raw_channels(void)
{
	fabric_error error;
	fabric_options *made = options("inproc:raw", 1);
	EXPECT(fabric_options_receive_queue(made, 0, 0, 0, 0, &error) == FABRIC_OK);
	fabric_raw *one = NULL, *two = NULL;
	EXPECT(fabric_raw_open(made, &one, &error) == FABRIC_MISUSE && strstr(error.text, "queue"));
	EXPECT(fabric_raw_open(options("inproc:raw", 1), &one, &error) == FABRIC_OK);
	EXPECT(fabric_raw_open(options("inproc:raw", 0), &two, &error) == FABRIC_OK);
	void *data;
	const void *bytes;
	size_t size, length, most;
	EXPECT(fabric_raw_window_bytes(one, &most, &error) == FABRIC_OK);
	EXPECT(fabric_raw_ship(one, 0, 0, &error) == FABRIC_MISUSE && fabric_raw_dispose(one, &error) == FABRIC_MISUSE);
	EXPECT(fabric_raw_abandon(one, &error) == FABRIC_MISUSE);
	for (unsigned n = 0; n < 100; n++) {
		EXPECT(fabric_raw_take(one, 10 * SECOND, &data, &size, &error) == FABRIC_OK && size == most);
		if (wrong)
			return;
		memset(data, (int)n, size);
		EXPECT(fabric_raw_take(one, 0, &data, &size, &error) == FABRIC_MISUSE);
		EXPECT(fabric_raw_receive(one, 0, &bytes, &length, &error) == FABRIC_MISUSE);
		EXPECT(fabric_raw_flush(one, 0, &error) == FABRIC_MISUSE);
		EXPECT(fabric_raw_ship(one, size + 1, 0, &error) == FABRIC_MISUSE);
		if (n % 10 == 9) {
			EXPECT(fabric_raw_abandon(one, &error) == FABRIC_OK);
			continue;
		}
		EXPECT(fabric_raw_ship(one, n, n % 2 ? FABRIC_ZERO : FABRIC_KEEP, &error) == FABRIC_OK);
		EXPECT(fabric_raw_receive(two, 10 * SECOND, &bytes, &length, &error) == FABRIC_OK && length == n);
		EXPECT(n == 0 || (bytes && ((const unsigned char *)bytes)[n - 1] == n) || !bytes);
		char copy[100];
		EXPECT(fabric_raw_copy(two, copy, sizeof copy, &length, &error) == FABRIC_OK && length == n && (n == 0 || copy[n - 1] == (char)n));
		EXPECT(n < 2 || fabric_raw_copy(two, copy, 1, &length, &error) == FABRIC_TOO_LARGE);
		EXPECT(fabric_raw_dispose(two, &error) == FABRIC_OK);
	}
	fabric_state state;
	EXPECT(fabric_raw_state(one, &state, &error) == FABRIC_OK && state.state == FABRIC_UP && state.peers == 1);
	EXPECT(fabric_raw_take(one, 10 * SECOND, &data, &size, &error) == FABRIC_OK);
	EXPECT(fabric_raw_free(one, &error) == FABRIC_OK);
	EXPECT(fabric_raw_receive(two, 10 * SECOND, &bytes, &length, &error) == FABRIC_PEER_GONE);
	EXPECT(fabric_raw_close(two, 0, &error) != FABRIC_MISUSE);
	EXPECT(fabric_raw_free(two, &error) == FABRIC_OK);
}

int main(void)
{
	null_pointers();
	null_results();
	errors();
	messages();
	raw_channels();
	if (!wrong)
		printf("all is so\n");
	return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}
