/*
 * attack_deep.c - directories deeper than any path, and names that hurt, for
 * whoever has to clean up afterwards.
 */
#include "attack.h"

int main(void)
{
	char name[201] = {0};
	long depth = 0;

	(void)memset(name, 'd', sizeof(name) - 1);
	while (depth < 3000 && mkdir(name, 0700) == 0 && chdir(name) == 0)
		depth++;
	(void)mkdir("-rf", 0);
	(void)mkdir("a\nb", 0);
	(void)mkdir("\xff\xfe", 0);
	if (depth < 100)
		return 1;
	contained();
}
