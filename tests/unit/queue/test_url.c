/* test_url.c - URLs taken apart, refused with a reason, and never telling a
 * password. */
#include "queue/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void urls_are_taken_apart(void **state)
{
	static const struct {
		const char *text;
		struct url url;
	} rows[] = {
		{"amqp://h", {"amqp", "guest", "guest", "h", "/", 5672, false}},
		{"amqps://h", {"amqps", "guest", "guest", "h", "/", 5671, true}},
		{"amqp://h/", {"amqp", "guest", "guest", "h", "/", 5672, false}},
		{"amqp://h/%2f", {"amqp", "guest", "guest", "h", "/", 5672, false}},
		{"amqp://h/v%2Fw/x", {"amqp", "guest", "guest", "h", "v/w/x", 5672, false}},
		{"amqp://u:p@h:1/v", {"amqp", "u", "p", "h", "v", 1, false}},
		{"amqp://u@h:65535", {"amqp", "u", "guest", "h", "/", 65535, false}},
		{"amqp://u:@h", {"amqp", "u", "", "h", "/", 5672, false}},
		{"amqp://a%40b:%3a%2F%25@h", {"amqp", "a@b", ":/%", "h", "/", 5672, false}},
		{"amqp://u:p@q@h", {"amqp", "u", "p@q", "h", "/", 5672, false}},
		{"amqps://[::1]:7/v", {"amqps", "guest", "guest", "::1", "v", 7, true}},
		{"amqp://u:p@[fe80::1]", {"amqp", "u", "p", "fe80::1", "/", 5672, false}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEANUP(arena_cleanup) struct arena arena;
		struct err err = {0};
		struct url url;

		arena_init(&arena, 1 << 16);
		if (url_parse(&arena, rows[i].text, &url, &err) < 0)
			fail_msg("%s: %s", rows[i].text, err.message);
		assert_string_equal(url.scheme, rows[i].url.scheme);
		assert_string_equal(url.user, rows[i].url.user);
		assert_string_equal(url.password, rows[i].url.password);
		assert_string_equal(url.host, rows[i].url.host);
		assert_string_equal(url.vhost, rows[i].url.vhost);
		assert_int_equal(url.port, rows[i].url.port);
		assert_int_equal(url.tls, rows[i].url.tls);
	}
}

static void malformed_urls_are_refused_without_the_password(void **state)
{
	static const struct {
		const char *text;
		const char *why;
	} rows[] = {
		{"", "scheme"},
		{"http://h", "scheme"},
		{"amqpx://h", "scheme"},
		{"amqp", "scheme"},
		{"amqp:h", "//"},
		{"amqp://", "no host"},
		{"amqp://u:secret@", "no host"},
		{"amqp://u:secret@:5672", "no host"},
		{"amqp://h:0", "port"},
		{"amqp://h:65536", "port"},
		{"amqp://h:5672x", "port"},
		{"amqp://h:", "port"},
		{"amqp://u:sec/ret@h", "percent-encoded"},
		{"amqp://[::1", "']'"},
		{"amqp://[::1]x", "port"},
		{"amqp://u:sec%ret@h", "percent-encoding in the password"},
		{"amqp://u:secret%4@h", "percent-encoding in the password"},
		{"amqp://u:secret%@h", "percent-encoding in the password"},
		{"amqp://u:sec%00ret@h", "percent-encoding in the password"},
		{"amqp://h/%zz", "virtual host"},
		{"amqp://h/v?heartbeat=5", "'?'"},
		{"amqp://h?x", "'?'"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		CLEANUP(arena_cleanup) struct arena arena;
		struct err err = {0};
		struct url url;

		arena_init(&arena, 1 << 16);
		assert_int_equal(url_parse(&arena, rows[i].text, &url, &err), -1);
		assert_int_equal(err.kind, ERR_INPUT);
		if (strstr(err.message, rows[i].why) == NULL)
			fail_msg("%s: %s", rows[i].text, err.message);
		assert_null(strstr(err.message, "sec"));
	}
}

static void redaction_hides_whatever_may_be_a_password(void **state)
{
	static const char *const rows[][2] = {
		{"amqp://u:secret@h:1/v", "amqp://u:***@h:1/v"},
		{"amqp://u@h/v", "amqp://u@h/v"},
		{"amqp://h:5672/v", "amqp://h:5672/v"},
		{"amqp://u:se@cr/et@h", "amqp://u:***@h"},
		{"u:secret@h", "u:***@h"},
		{"amqp:u:secret@h", "amqp:***@h"},
		{"", ""},
	};
	char small[8];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char got[64];

		url_redact(rows[i][0], got, sizeof(got));
		assert_string_equal(got, rows[i][1]);
	}
	url_redact("amqp://user:secret@h", small, sizeof(small));
	assert_string_equal(small, "amqp://");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(urls_are_taken_apart),
		cmocka_unit_test(malformed_urls_are_refused_without_the_password),
		cmocka_unit_test(redaction_hides_whatever_may_be_a_password),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
