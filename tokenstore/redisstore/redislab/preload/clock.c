// Sets the clock of a server off, or makes it run faster: preloaded, it answers for libc's clocks.
// libfaketime can't be used, since jemalloc asks for the time before libfaketime is ready.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long setting(const char *name) {
	const char *text = getenv(name);
	return text ? atol(text) : 0;
}

// offset returns where the seconds stand by which the clock is off. The lab changes them while the
// server runs.
static const volatile long *offset(void) {
	static const long none;
	const char *name = getenv("REDISLAB_OFFSET");
	int file = open(name ? name : "", O_RDONLY | O_CLOEXEC);
	void *at = MAP_FAILED;
	if (file >= 0) {
		at = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
		close(file);
	}
	return at == MAP_FAILED ? &none : at;
}

static void change(struct timespec *ts) {
	static const volatile long *off;
	static long from, speed; // of 0 the clock runs as others do
	static int known;
	if (!known) {
		off = offset();
		from = setting("REDISLAB_FROM");
		speed = setting("REDISLAB_SPEED");
		known = 1;
	}
	if (speed > 0) {
		long long nanoseconds = ((ts->tv_sec - from) * 1000000000LL + ts->tv_nsec) * speed;
		ts->tv_sec = from + nanoseconds / 1000000000;
		ts->tv_nsec = nanoseconds % 1000000000;
	}
	ts->tv_sec += *off;
}

int clock_gettime(clockid_t id, struct timespec *ts) {
	int failed = syscall(SYS_clock_gettime, id, ts);
	if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		change(ts);
	return failed;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
	struct timespec ts;
	(void)zone;
	int failed = clock_gettime(CLOCK_REALTIME, &ts);
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return failed;
}

time_t time(time_t *t) {
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	if (t)
		*t = ts.tv_sec;
	return ts.tv_sec;
}
