/* Receives what sender.c sends, answers with the number of messages, and goes on until the sender has closed.
 *
 *     receiver URI COUNT
 */
#include <fabric.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000000000)

static void check(int32_t code, const fabric_error *error, const char *what)
{
	if (code != FABRIC_OK) {
		fprintf(stderr, "receiver: %s: %s (code %" PRId32 ")\n", what, error->text, code);
		exit(EXIT_FAILURE);
	}
}

/* Looks at a numbered message where it lies. */
struct numbers {
	uint64_t next;
	uint64_t wrong;
};

static void look(void *context, const fabric_view *view)
{
	struct numbers *numbers = context;
	fabric_frame frame;
	uint64_t number = UINT64_MAX;
	if (fabric_view_frame(view, 0, &frame, NULL) == FABRIC_OK && frame.length == sizeof number)
		memcpy(&number, frame.data, sizeof number);
	numbers->wrong += number != numbers->next;
	numbers->next++;
}

int main(int count, char **arguments)
{
	if (count != 3) {
		fprintf(stderr, "usage: receiver URI COUNT\n");
		return EXIT_FAILURE;
	}
	unsigned long messages = strtoul(arguments[2], NULL, 10);
	fabric_error error;

	fabric_options *options;
	check(fabric_options_new(&options, &error), &error, "options");
	check(fabric_options_listen(options, arguments[1], &error), &error, "listen");
	fabric_channel *channel;
	fabric_receiver *receiver;
	check(fabric_channel_open(options, &channel, &receiver, &error), &error, "open");

	/* The fast way: messages are lent to a callback. */
	struct numbers numbers = {0, 0};
	while (numbers.next < messages)
		check(fabric_receive_with(receiver, 20 * SECOND, look, &numbers, &error), &error, "receive");
	printf("numbers %" PRIu64 ", wrong %" PRIu64 "\n", numbers.next, numbers.wrong);

	/* The way for messages that are kept. */
	fabric_received *received;
	fabric_info info;
	check(fabric_receive(receiver, 20 * SECOND, &received, &error), &error, "receive frames");
	check(fabric_received_info(received, &info, &error), &error, "info");
	printf("kind %" PRId32 " correlation %" PRIu64 " timestamp %" PRIu64 " payload %" PRIu64 "\n", info.kind, info.correlation, info.timestamp_ns,
	       info.payload_bytes);
	for (uint32_t number = 0; number < info.frames; number++) {
		fabric_frame frame;
		check(fabric_received_frame(received, number, &frame, &error), &error, "frame");
		printf("frame %" PRIu32 " schema %d length %zu begins %.6s\n", number, frame.schema, frame.length, (const char *)frame.data);
	}
	fabric_received_free(received);

	/* A window of the peer: copied out, since by default the peer is not trusted to leave it as it is. */
	check(fabric_receive(receiver, 20 * SECOND, &received, &error), &error, "receive a window");
	static unsigned char window[1 << 20];
	size_t length, wrong = 0;
	check(fabric_received_copy(received, 0, window, sizeof window, &length, &error), &error, "copy");
	for (size_t n = 0; n < length; n++)
		wrong += window[n] != (unsigned char)(n * 7);
	printf("window %zu, wrong %zu\n", length, wrong);
	fabric_received_free(received);

	fabric_queue queue = {0};
	fabric_sender *sender;
	check(fabric_channel_sender(channel, &queue, &sender, &error), &error, "sender");
	uint64_t counted = numbers.next + 2;
	check(fabric_post_bytes(sender, &counted, sizeof counted, 10 * SECOND, &error), &error, "answer");

	/* The end of the peer is told once. */
	int32_t code = fabric_receive_copy(receiver, 20 * SECOND, NULL, 0, &length, &error);
	printf("end %" PRId32 ", in doubt %" PRIu64 "\n", code, error.in_doubt);

	fabric_sender_free(sender);
	fabric_receiver_free(receiver);
	fabric_channel_free(channel);
	return code == FABRIC_PEER_GONE ? EXIT_SUCCESS : EXIT_FAILURE;
}
