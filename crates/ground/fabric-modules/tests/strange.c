/* The sample with a fault, to see that the host notices: STRANGE_ADDRESS hands out windows beside their alignment, STRANGE_SEQUENCE delivers the
 * first window with another sequence in its header. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#ifdef STRANGE_ADDRESS
static void *strange_calloc(size_t count, size_t size)
{
    char *bytes = calloc(count, size + 8);
    return bytes && count == 1 && size >= 4096 ? bytes + 4 : bytes;
}
/* What is beside its beginning cannot be freed. */
#define calloc strange_calloc
#define free(bytes) ((void)(bytes))
#endif

#ifdef STRANGE_SEQUENCE
static void *strange_memcpy(void *to, const void *from, size_t size)
{
    memcpy(to, from, size);
    if (size >= 32 && !memcmp(from, "PHF1", 4))
        ((char *)to)[16] += 1;
    return to;
}
#define memcpy strange_memcpy
#endif

#include "../sample/pair.c"
