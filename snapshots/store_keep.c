/*
 * store_keep.c - checkouts as things that are kept: what is known of each, who
 * holds it, and how it goes.
 *
 * The directory of a checkout is flocked, shared, by whoever mounts it, for as
 * long as it is mounted. Who removes it wants the lock alone, and gives the
 * directory another name first: who comes later finds none, who holds it
 * already keeps what it has. The lock is no promise before it is seen that the
 * directory still has its name.
 *
 * A layer needs the checkout below it, which therefore stays as long as there
 * is one; where it was lost all the same, the layer counts as not there.
 */
#include "snapshots/store_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"

enum { INFO_BYTES_MAX = 1024 };

/* --- what is known ----------------------------------------------------- */

void store_checkout_path(const struct store *store, const struct oid *tree, const char *suffix,
			 char ret[PATH_MAX])
{
	char hex[OID_HEX_BYTES];

	oid_hex(tree, hex);
	(void)snprintf(ret, PATH_MAX, "%s/checkouts/%s%s", store->path, hex, suffix);
}

int store_info_write(const char *path, const struct store_info *info, struct err *err)
{
	CLEANUP(fd_cleanup) int fd = -1;
	CLEANUP(buf_release) struct buf text = {0};
	char hex[OID_HEX_BYTES];

	buf_init(&text, INFO_BYTES_MAX);
	buf_printf(&text, "repo %s\nfiles %lld\nbytes %lld\nown %lld\n", info->repo,
		   (long long)info->files, (long long)info->bytes, (long long)info->own_bytes);
	if (info->layered) {
		oid_hex(&info->under, hex);
		buf_printf(&text, "over %s\n", hex);
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	if (fd < 0)
		return err_sys(err, "cannot open '%s'", path);
	return fd_write_all(fd, text.data, text.len, err);
}

int store_info_read(const char *path, struct store_info *ret, struct err *err)
{
	CLEANUP(buf_release) struct buf text = {0};
	char files[24], bytes[24], own[24], over[OID_HEX_BYTES];
	struct store_info info = {0};
	int fields;

	buf_init(&text, INFO_BYTES_MAX);
	if (fd_read_file(path, INFO_BYTES_MAX, &text, err) < 0)
		return -1;
	fields =
		sscanf(buf_text(&text), "repo %255s\nfiles %23s\nbytes %23s\nown %23s\nover %40s\n",
		       info.repo, files, bytes, own, over);
	info.layered = fields == 5;
	if (fields < 4 || (info.layered && !oid_parse(over, &info.under)) ||
	    strchr(info.repo, '/') != NULL || !text_parse_int(files, &info.files) ||
	    !text_parse_int(bytes, &info.bytes) || !text_parse_int(own, &info.own_bytes) ||
	    info.own_bytes < 0)
		return err_set(err, ERR_INPUT, "'%s' is damaged", path);
	*ret = info;
	return 0;
}

bool store_has_checkout(const struct store *store, const struct oid *tree)
{
	char path[PATH_MAX];
	struct store_info info;
	struct stat st;

	store_checkout_path(store, tree, "", path);
	if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return false;
	store_checkout_path(store, tree, ".info", path);
	if (store_info_read(path, &info, NULL) < 0 || !info.layered)
		return true;
	store_checkout_path(store, &info.under, "", path);
	return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool store_under(const struct store *store, const struct oid *tree, struct arena *arena,
		 const char **ret_path)
{
	char path[PATH_MAX];
	struct store_info info;

	store_checkout_path(store, tree, ".info", path);
	if (store_info_read(path, &info, NULL) < 0 || !info.layered)
		return false;
	store_checkout_path(store, &info.under, "", path);
	*ret_path = arena_strdup(arena, path);
	return *ret_path != NULL;
}

/* --- holding ----------------------------------------------------------- */

int store_pin(const struct store *store, const struct oid *tree, int *ret_fd)
{
	CLEANUP(fd_cleanup) int fd = -1;
	char path[PATH_MAX];
	struct stat named, open_one;

	store_checkout_path(store, tree, "", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) < 0 || fstat(fd, &open_one) < 0 ||
	    lstat(path, &named) < 0 || named.st_ino != open_one.st_ino ||
	    named.st_dev != open_one.st_dev)
		return 1;
	*ret_fd = fd_take(&fd);
	return 0;
}

/* --- all of them ------------------------------------------------------- */

int store_checkouts_each(const struct store *store,
			 int (*visit)(void *ctx, const struct oid *tree, struct err *err),
			 void *ctx, struct err *err)
{
	char path[PATH_MAX];
	const struct dirent *entry;
	int result = 0;
	DIR *stream;

	(void)snprintf(path, sizeof(path), "%s/checkouts", store->path);
	stream = opendir(path);
	if (stream == NULL)
		return err_sys(err, "cannot open '%s'", path);
	while (result == 0 && (entry = readdir(stream)) != NULL) {
		struct oid tree;

		if (oid_parse(entry->d_name, &tree))
			result = visit(ctx, &tree, err);
	}
	(void)closedir(stream);
	return result;
}

/* --- removing ---------------------------------------------------------- */

struct layer_search {
	const struct store *store;
	const struct oid *under;
};

static int is_layer_over(void *ctx, const struct oid *tree, struct err *err)
{
	const struct layer_search *search = ctx;
	char path[PATH_MAX];
	struct store_info info;

	(void)err;
	store_checkout_path(search->store, tree, ".info", path);
	return store_info_read(path, &info, NULL) == 0 && info.layered &&
	       oid_equal(&info.under, search->under);
}

static bool has_layers(const struct store *store, const struct oid *tree)
{
	struct layer_search search = {.store = store, .under = tree};

	return store_checkouts_each(store, is_layer_over, &search, NULL) != 0;
}

bool store_checkout_remove(const struct store *store, const struct oid *tree, bool force)
{
	CLEANUP(fd_cleanup) int fd = -1;
	char path[PATH_MAX], info[PATH_MAX], gone[PATH_MAX], hex[OID_HEX_BYTES];
	bool alone;

	store_checkout_path(store, tree, "", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return false;
	alone = flock(fd, LOCK_EX | LOCK_NB) == 0;
	/* Who makes a layer over it holds it until the layer has its name. */
	if (!force && (!alone || has_layers(store, tree)))
		return false;
	oid_hex(tree, hex);
	store_checkout_path(store, tree, ".info", info);
	(void)snprintf(gone, sizeof(gone), "%s/tmp/old-%s-%lld", store->path, hex,
		       (long long)clock_mono_us());
	/* The info goes first: who builds it anew writes another. */
	(void)unlink(info);
	if (rename(path, gone) < 0)
		return false;
	if (alone)
		store_remove_tree(gone);
	return true;
}
