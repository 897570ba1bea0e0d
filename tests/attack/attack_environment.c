/*
 * attack_environment.c - looks for what the starter had in its environment, its
 * command line or its memory files: tokens, URLs with passwords, sockets of
 * agents. The word that must not be found is given.
 */
#include <dirent.h>

#include "attack.h"

extern char **environ;

static void search(const char *path, const char *word)
{
	static char text[1 << 20];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		(void)close(fd);
	if (n > 0 && memmem(text, (size_t)n, word, strlen(word)) != NULL)
		escaped("'%s' holds the secret", path);
}

int main(int argc, char **argv)
{
	/* In two halves, so that our own command line is no find. */
	char word[128], path[300];
	DIR *dir = opendir("/proc");

	if (argc < 3 || dir == NULL)
		return 1;
	(void)snprintf(word, sizeof(word), "%s%s", argv[1], argv[2]);
	for (char **each = environ; *each != NULL; each++) {
		if (strstr(*each, word) != NULL)
			escaped("the environment holds the secret");
		if (strncmp(*each, "SSH_", 4) == 0 || strncmp(*each, "DBUS_", 5) == 0 ||
		    strncmp(*each, "AWS_", 4) == 0 || strncmp(*each, "XDG_", 4) == 0)
			escaped("the environment holds '%s'", *each);
	}
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		static const char *const files[] = {"environ", "cmdline", "auxv"};

		for (size_t i = 0; i < 3; i++) {
			(void)snprintf(path, sizeof(path), "/proc/%s/%s", entry->d_name, files[i]);
			search(path, word);
		}
	}
	search("/proc/cmdline", word);
	contained();
}
