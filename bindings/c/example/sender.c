/* Sends in every way that the fabric knows: bytes, a message of several frames, memory that is released by a callback, a window by reference. The peer is
 * receiver.c.
 *
 *     sender URI COUNT
 */
#include <fabric.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000000000)

/* Ends the program with the fabric's own words. */
static void check(int32_t code, const fabric_error *error, const char *what)
{
	if (code != FABRIC_OK) {
		fprintf(stderr, "sender: %s: %s (code %" PRId32 ")\n", what, error->text, code);
		exit(EXIT_FAILURE);
	}
}

static void release(void *context, const void *data, size_t length)
{
	(void)length;
	free((void *)(uintptr_t)data);
	++*(int *)context;
}

int main(int count, char **arguments)
{
	if (count != 3) {
		fprintf(stderr, "usage: sender URI COUNT\n");
		return EXIT_FAILURE;
	}
	unsigned long messages = strtoul(arguments[2], NULL, 10);
	fabric_error error;

	fabric_options *options;
	check(fabric_options_new(&options, &error), &error, "options");
	check(fabric_options_connect(options, arguments[1], &error), &error, "connect");
	check(fabric_options_arena(options, 1 << 20, 4, &error), &error, "arena");
	fabric_channel *channel;
	fabric_receiver *receiver;
	check(fabric_channel_open(options, &channel, &receiver, &error), &error, "open");

	/* An input queue: zeros are one producer, normal priority. */
	fabric_queue queue = {0};
	fabric_sender *sender;
	check(fabric_channel_sender(channel, &queue, &sender, &error), &error, "sender");

	/* Bytes. */
	for (unsigned long n = 0; n < messages; n++) {
		uint64_t number = n;
		check(fabric_post_bytes(sender, &number, sizeof number, 10 * SECOND, &error), &error, "post bytes");
	}

	/* A message of three frames: copied, for ever there, and released by a callback. */
	int released = 0;
	fabric_message *message;
	check(fabric_message_new(FABRIC_REQUEST, 4711, &message, &error), &error, "message");
	check(fabric_message_push_copy(message, "copied", 6, &error), &error, "copy");
	check(fabric_message_schema(message, 7, &error), &error, "schema");
	check(fabric_message_push_static(message, "static", 6, &error), &error, "static");
	char *block = malloc(1000);
	if (!block)
		return EXIT_FAILURE;
	memset(block, 'x', 1000);
	check(fabric_message_push_external(message, block, 1000, release, &released, &error), &error, "external");
	check(fabric_message_timestamp(message, 99, &error), &error, "timestamp");
	check(fabric_post(sender, message, 10 * SECOND, &error), &error, "post");

	/* A window: filled where it lies, sent by reference where the transport shares memory. The handle of the message is used again. */
	fabric_window *window;
	check(fabric_channel_take_window(channel, &window, &error), &error, "take a window");
	void *data;
	size_t room;
	check(fabric_window_spare(window, &data, &room, &error), &error, "spare");
	/* No more than fits a message, for a transport that copies. */
	size_t length = room < 200000 ? room : 200000;
	for (size_t n = 0; n < length; n++)
		((unsigned char *)data)[n] = (unsigned char)(n * 7);
	fabric_slice *slice;
	check(fabric_window_fill(window, length, &slice, &error), &error, "fill");
	check(fabric_message_push_slice(message, slice, &error), &error, "slice");
	check(fabric_post(sender, message, 10 * SECOND, &error), &error, "post a window");
	fabric_slice_free(slice);
	fabric_window_free(window);
	fabric_message_free(message);

	/* The receiver says how many messages it counted. */
	uint64_t counted;
	check(fabric_receive_copy(receiver, 20 * SECOND, &counted, sizeof counted, &length, &error), &error, "receive");
	printf("sent %lu, counted %" PRIu64 ", released %d\n", messages + 2, counted, released);

	check(fabric_channel_close(channel, 10 * SECOND, &error), &error, "close");
	fabric_sender_free(sender);
	fabric_receiver_free(receiver);
	fabric_channel_free(channel);
	return EXIT_SUCCESS;
}
