/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Log lines are built on the stack and leave in one write(2), so that threads never mix lines and logging
 * works without memory and inside a sandbox (the date is computed here: gmtime(3) may open files). */
#include "proto/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/must.h"
#include "proto/base/str.h"

#define LINE_BYTES 2048

static const struct {
    const char *name;
    int priority;
} levels[] = {
    [LOG_LVL_ERROR] = {"error", LOG_ERR},
    [LOG_LVL_WARN] = {"warn", LOG_WARNING},
    [LOG_LVL_INFO] = {"info", LOG_INFO},
    [LOG_LVL_DEBUG] = {"debug", LOG_DEBUG},
};

static char program_name[64] = "hafiz";
static char debug_topics[256]; /* ",a,b,"; set before threads start */
static atomic_bool debug_any, stderr_off, syslog_on;

void log_open(const char *program, bool to_syslog)
{
    snprintf(program_name, sizeof(program_name), "%s", program);
    if (to_syslog) {
        tzset(); /* syslog(3) wants the time zone: read it while files can be opened */
        openlog(program_name, LOG_PID | LOG_NDELAY, LOG_DAEMON);
    } else if (atomic_load(&syslog_on)) {
        closelog();
    }
    atomic_store(&syslog_on, to_syslog);
    log_set_debug(NULL);
}

void log_set_stderr(bool on)
{
    atomic_store(&stderr_off, !on);
}

void log_set_debug(const char *topics)
{
    if (!topics)
        topics = getenv("HAFIZ_DEBUG");
    if (!topics)
        topics = "";
    snprintf(debug_topics, sizeof(debug_topics), ",%s,", topics);
    atomic_store(&debug_any, topics[0] != '\0');
}

bool log_debug_on(const char *topic)
{
    size_t n = strlen(topic);

    if (!atomic_load_explicit(&debug_any, memory_order_relaxed))
        return false;
    if (strstr(debug_topics, ",all,"))
        return true;
    for (const char *p = debug_topics; (p = strstr(p, topic)); p++)
        if (p[-1] == ',' && p[n] == ',')
            return true;
    return false;
}

/* "2026-01-31T23:59:59.123Z" from ns since 1970; the calendar by Hinnant's days-to-civil method. */
static int format_time(char *out, size_t size, int64_t ns)
{
    int64_t s = ns / (int64_t)NS_PER_S, days = s / 86400, rest = s % 86400;
    int64_t z = days + 719468, era = z / 146097, doe = z % 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    int64_t day = doy - (153 * mp + 2) / 5 + 1, month = mp < 10 ? mp + 3 : mp - 9;
    int64_t year = yoe + era * 400 + (month <= 2);

    return snprintf(out, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", (int)year, (int)month,
                    (int)day, (int)(rest / 3600), (int)(rest / 60 % 60), (int)(rest % 60),
                    (int)(ns / 1000000 % 1000));
}

void log_write(enum log_level level, const char *topic, const char *fmt, ...)
{
    char line[LINE_BYTES];
    int saved = errno, n, head;
    size_t len;
    va_list ap;

    head = format_time(line, sizeof(line), clock_real_ns());
    head += snprintf(line + head, sizeof(line) - (size_t)head, " %s[%d] %s ", program_name,
                     (int)getpid(), levels[level].name);
    n = snprintf(line + head, sizeof(line) - (size_t)head, "%.32s: ", topic);
    len = (size_t)(head + n);
    va_start(ap, fmt);
    errno = saved; /* for %m */
    n = vsnprintf(line + len, sizeof(line) - len - 1, fmt, ap);
    va_end(ap);
    if (n > 0)
        len += MIN((size_t)n, sizeof(line) - len - 2);
    for (size_t i = (size_t)head; i < len; i++) /* a forgotten log_esc() must not forge lines */
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    line[len] = '\0';
    if (atomic_load_explicit(&syslog_on, memory_order_relaxed))
        syslog(levels[level].priority, "%s", line + head);
    line[len++] = '\n';
    if (!atomic_load_explicit(&stderr_off, memory_order_relaxed)) {
        ssize_t sent = write(STDERR_FILENO, line, len);
        (void)sent; /* nowhere left to complain */
    }
    errno = saved;
}

const char *log_escn(const char *s, size_t len)
{
    static _Thread_local char ring[8][LOG_ESC_BYTES];
    static _Thread_local unsigned turn;
    char *out = ring[turn++ % 8];
    size_t at = 0;

    while (len > 0) {
        unsigned char c = (unsigned char)*s;
        size_t n = str_utf8_len(s, len);
        bool raw = n > 1 ? !(c == 0xc2 && (unsigned char)s[1] < 0xa0) /* C1 controls */
                         : n == 1 && c >= 0x20 && c != 0x7f && c != '"' && c != '\'' && c != '\\';
        size_t need = raw ? n : 4;

        if (at + need > LOG_ESC_BYTES - 4) {
            memcpy(out + at, "...", 3);
            at += 3;
            break;
        }
        if (raw)
            memcpy(out + at, s, n);
        else
            snprintf(out + at, LOG_ESC_BYTES - at, "\\x%02x", c);
        at += need;
        n = raw ? n : 1;
        s += n;
        len -= n;
    }
    out[at] = '\0';
    return out;
}

const char *log_esc(const char *s)
{
    return s ? log_escn(s, strlen(s)) : "(none)";
}
