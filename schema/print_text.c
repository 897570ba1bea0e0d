/*
 * print_text.c - text of strangers on a terminal, and numbers for people.
 *
 * Names, messages and output come from the job, so they go through
 * terminal.h: nothing in a result can move the cursor, recolour the terminal
 * or dress up as another line of the report.
 */
#include <inttypes.h>

#include "base/terminal.h"
#include "schema/print_private.h"

enum { LINE_BYTES = 300, CHARACTER_BYTES = 4 };

/* --- text ------------------------------------------------------------- */

void print_harmless(struct buf *out, struct bytes text)
{
	size_t cut = text.len;

	if (text.len > LINE_BYTES) {
		cut = LINE_BYTES;
		/* Not in the middle of a character, where there are any. */
		while (cut > LINE_BYTES - CHARACTER_BYTES && (text.data[cut] & 0xc0) == 0x80)
			cut--;
	}
	terminal_add(out, text.data, cut, false);
	if (cut < text.len)
		buf_add_text(out, "...");
}

/* --- numbers ---------------------------------------------------------- */

void print_duration(struct buf *out, int64_t us)
{
	if (us < 10000)
		buf_printf(out, "%.2f ms", (double)us / 1000);
	else if (us < 1000000)
		buf_printf(out, "%.0f ms", (double)us / 1000);
	else
		buf_printf(out, "%.2f s", (double)us / 1000000);
}

void print_size(struct buf *out, int64_t size)
{
	if (size < 10240)
		buf_printf(out, "%" PRId64 " B", size);
	else if (size < 10485760)
		buf_printf(out, "%" PRId64 " KiB", size / 1024);
	else
		buf_printf(out, "%" PRId64 " MiB", size / 1048576);
}
