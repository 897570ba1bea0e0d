/*
 * replay.c - a fuzz target without a fuzzer: every input of its corpus once, in
 * the builds that the unit tests have. So what was found once stays found, also
 * where there is no clang.
 *
 *	replay_NAME DIRECTORY...
 *
 * The oracles end the process; the input's name is printed before.
 */
#include <dirent.h>
#include <limits.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "tests/fuzz/fuzz.h"

enum { INPUT_BYTES_MAX = 1 << 20 };

static void replay(const char *folder, const char *name)
{
	char path[PATH_MAX];
	struct err err = {0};
	struct buf input;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	(void)printf("%s\n", path);
	(void)fflush(stdout);
	buf_init(&input, INPUT_BYTES_MAX);
	require(fd_read_file(path, INPUT_BYTES_MAX, &input, &err) == 0);
	(void)LLVMFuzzerTestOneInput(input.data, input.len);
	buf_release(&input);
}

int main(int argc, char **argv)
{
	size_t inputs = 0;

	(void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
	for (int i = 1; i < argc; i++) {
		DIR *folder = opendir(argv[i]);
		const struct dirent *entry;

		require(folder != NULL);
		while ((entry = readdir(folder)) != NULL) {
			if (entry->d_name[0] == '.')
				continue;
			replay(argv[i], entry->d_name);
			inputs++;
		}
		(void)closedir(folder);
	}
	require(inputs > 0);
	return 0;
}
