/*
 * terminal.h - hostile text on its way to a person's terminal.
 *
 *	terminal_add(&out, line, len, false);
 *
 * What a terminal, a pager or a reader's eye would take for more than text is
 * spelled out: control characters (\x1b), bytes that are not UTF-8 (\xff), and
 * the characters that reorder or break lines (\u202e). A backslash stays as it
 * is, so the spelling is for reading, not for reading back.
 */
#ifndef SBX_BASE_TERMINAL_H
#define SBX_BASE_TERMINAL_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/defs.h"

/* Appends `len` bytes, made harmless. Tabs stay; line feeds stay when `lines`
 * is set, and a carriage return before one is dropped. */
void terminal_add(struct buf *out, const void *data, size_t len, bool lines);

/* When the character that starts at `data` has to be spelled out: its length in
 * bytes, and which it is. Else 0, also for what is not UTF-8. */
size_t terminal_harmful(const void *data, size_t len, uint32_t *ret_point);

/* terminal_add for a NUL-terminated text on one line; NULL adds nothing. */
void terminal_add_text(struct buf *out, const char *text);

#endif
