/*
 * fuzz_junit.c - any bytes as a JUnit report.
 */
#include "tests/fuzz/fuzz_report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	(void)junit_looks_like((struct bytes){data, size});
	(void)junit_parse((struct bytes){data, size}, &fuzz_report_sink);
	return 0;
}
