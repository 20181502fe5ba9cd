/* Reads windows of the fabric's wire format, version 1, and prints what is in them as text.
 *
 * It was written from docs/formats/fabric.md alone and shares no code with the Rust crate: where the two print different things, one of them or the
 * page is wrong. tests/format.rs compiles it and runs it over the test vectors, over fresh windows and over damaged ones.
 *
 *     decoder FILE...      one window in each file; what is refused is said and is no failure, a file that cannot be read is one
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	WINDOW_HEADER = 32, /* bytes in front of the messages */
	MESSAGE_HEADER = 16,
	EXTENSION = 16,
	FRAME_HEADER = 8,
	DESCRIPTOR = 24,
	FRAMES_MAX = 64,
	MESSAGE_EXTENDED = 0x01,
	MESSAGE_REFUSED = 0x0c, /* the flags that must be understood, without the two that are */
	FRAME_LENT = 0x01,
	FRAME_REFUSED = 0x0e, /* as above */
	KIND_END = 0xff
};

/* Bytes, and how many of them there are. Nothing is read without a look at the second. */
struct bytes {
	const unsigned char *at;
	size_t length;
};

static uint16_t half(const unsigned char *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

static uint32_t word(const unsigned char *at)
{
	return (uint32_t)half(at) | (uint32_t)half(at + 2) << 16;
}

static uint64_t longword(const unsigned char *at)
{
	return (uint64_t)word(at) | (uint64_t)word(at + 4) << 32;
}

/* CRC-32C, bit by bit: polynomial 0x1EDC6F41, reflected, all ones at first and inverted at the end. */
static uint32_t crc32c(struct bytes bytes)
{
	uint32_t sum = 0xffffffffu;
	for (size_t n = 0; n < bytes.length; n++) {
		sum ^= bytes.at[n];
		for (int bit = 0; bit < 8; bit++)
			sum = sum >> 1 ^ (sum & 1 ? 0x82f63b78u : 0);
	}
	return ~sum;
}

static const char *kind_name(unsigned kind)
{
	static const char *const names[] = {NULL, "data", "request", "response", "cancel", "gap", "ping", "pong"};
	return kind < sizeof names / sizeof *names ? names[kind] : NULL;
}

/* Walks over the frames of a message. With `print` 0 it only looks whether they are right: nothing is printed of a message that is not right as a
 * whole. Returns what is wrong, or NULL. */
static const char *walk_frames(struct bytes rest, unsigned frames, int print)
{
	for (unsigned n = 0; n < frames; n++) {
		if (rest.length < FRAME_HEADER)
			return "frame-length";
		uint32_t length = word(rest.at);
		unsigned schema = half(rest.at + 4), flags = rest.at[6];
		if (flags & FRAME_REFUSED)
			return "frame-flags";
		rest.at += FRAME_HEADER;
		rest.length -= FRAME_HEADER;
		size_t taken;
		if (flags & FRAME_LENT) {
			taken = DESCRIPTOR;
			if (rest.length < taken || word(rest.at + 16) != length)
				return "frame-length";
			if (print)
				printf("frame %u schema %u lent lease %" PRIu32 " generation %" PRIu32 " window %" PRIu32
				       " offset %" PRIu32 " length %" PRIu32 "\n",
				       n, schema, word(rest.at), word(rest.at + 4), word(rest.at + 8), word(rest.at + 12), length);
		} else {
			if (length > rest.length)
				return "frame-length";
			taken = ((size_t)length + 7) / 8 * 8;
			if (taken > rest.length)
				return "frame-length";
			if (print) {
				printf("frame %u schema %u bytes %" PRIu32 " ", n, schema, length);
				for (uint32_t byte = 0; byte < length; byte++)
					printf("%02x", rest.at[byte]);
				printf("\n");
			}
		}
		rest.at += taken;
		rest.length -= taken;
	}
	return rest.length ? "surplus" : NULL;
}

/* One message at the front of `rest`. Returns what is wrong, or NULL and how long it was. */
static const char *message(struct bytes rest, size_t *taken)
{
	uint32_t length = word(rest.at);
	unsigned frames = half(rest.at + 4), kind = rest.at[6], flags = rest.at[7];
	if (!kind_name(kind))
		return "kind";
	if (flags & MESSAGE_REFUSED)
		return "message-flags";
	size_t head = MESSAGE_HEADER + (flags & MESSAGE_EXTENDED ? EXTENSION : 0);
	if (length % 8 != 0 || length > rest.length || length < head)
		return "length";
	if (frames > FRAMES_MAX)
		return "frame-count";
	struct bytes body = {rest.at + head, length - head};
	const char *wrong = walk_frames(body, frames, 0);
	if (wrong)
		return wrong;
	printf("message %s flags 0x%02x correlation %" PRIu64 " frames %u\n", kind_name(kind), flags, longword(rest.at + 8), frames);
	if (flags & MESSAGE_EXTENDED)
		printf("timestamp %" PRIu64 " tag %" PRIu64 "\n", longword(rest.at + 16), longword(rest.at + 24));
	walk_frames(body, frames, 1);
	*taken = length;
	return NULL;
}

/* The messages behind the header. */
static const char *messages(struct bytes rest)
{
	for (;;) {
		if (rest.length < 8)
			break;
		if (longword(rest.at) == 0) {
			printf("open\n");
			return NULL;
		}
		if (longword(rest.at) == (uint64_t)KIND_END << 48)
			break;
		size_t taken = 0;
		const char *wrong = message(rest, &taken);
		if (wrong)
			return wrong;
		rest.at += taken;
		rest.length -= taken;
	}
	printf("end\n");
	return NULL;
}

/* Returns what is wrong, or NULL. */
static const char *window(struct bytes all)
{
	if (all.length < WINDOW_HEADER)
		return "used";
	if (all.at[0] != 'P' || all.at[1] != 'H' || all.at[2] != 'F' || all.at[3] != '1')
		return "magic";
	if (all.at[4] != 1)
		return "version";
	if (half(all.at + 6) != WINDOW_HEADER)
		return "header-length";
	uint32_t used = word(all.at + 8), sum = word(all.at + 24);
	if ((used != 0 && used < WINDOW_HEADER) || used > all.length)
		return "used";
	/* 0: a window of shared memory, whose messages become visible one by one. */
	struct bytes body = {all.at + WINDOW_HEADER, (used ? used : all.length) - WINDOW_HEADER};
	if (used && sum && crc32c(body) != sum)
		return "checksum";
	printf("window flags 0x%02x used %" PRIu32 " messages %" PRIu32 " sequence %" PRIu64 " epoch %" PRIu32 " crc32c 0x%08" PRIx32 "\n",
	       all.at[5], used, word(all.at + 12), longword(all.at + 16), word(all.at + 28), sum);
	/* What does not fill a word is no message. */
	body.length -= body.length % 8;
	return messages(body);
}

int main(int count, char **names)
{
	for (int n = 1; n < count; n++) {
		FILE *file = fopen(names[n], "rb");
		if (!file) {
			perror(names[n]);
			return EXIT_FAILURE;
		}
		/* Grown as needed, so that the memory checkers see the true end of the window. */
		struct bytes all = {NULL, 0};
		unsigned char *buffer = NULL, part[4096];
		size_t got;
		while ((got = fread(part, 1, sizeof part, file)) > 0) {
			unsigned char *grown = realloc(buffer, all.length + got);
			if (!grown) {
				fprintf(stderr, "no memory\n");
				return EXIT_FAILURE;
			}
			buffer = grown;
			for (size_t byte = 0; byte < got; byte++)
				buffer[all.length++] = part[byte];
		}
		if (ferror(file)) {
			perror(names[n]);
			return EXIT_FAILURE;
		}
		fclose(file);
		all.at = buffer;
		printf("file %s\n", names[n]);
		const char *wrong = window(all);
		if (wrong)
			printf("refused %s\n", wrong);
		free(buffer);
	}
	return EXIT_SUCCESS;
}
