/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One line per event: time, level, topic, text. Arguments that came from outside (names, server texts)
 * must be passed through log_esc(). Levels: error (somebody must act), warn (healed or degraded),
 * info (life-cycle), debug (HAFIZ_DEBUG=topic,topic or "all"). Thread-safe; never allocates.
 * Secrets are `struct secret`, which no log call accepts. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_LVL_ERROR, LOG_LVL_WARN, LOG_LVL_INFO, LOG_LVL_DEBUG };

/* to_syslog: also send to syslog(3) under `program`. stderr is always written unless quiet_stderr. */
void log_open(const char *program, bool to_syslog);
void log_set_stderr(bool on);
void log_set_debug(const char *topics); /* NULL: from the environment's HAFIZ_DEBUG */
bool log_debug_on(const char *topic);
void log_write(enum log_level level, const char *topic, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(topic, ...) log_write(LOG_LVL_ERROR, topic, __VA_ARGS__)
#define log_warn(topic, ...) log_write(LOG_LVL_WARN, topic, __VA_ARGS__)
#define log_info(topic, ...) log_write(LOG_LVL_INFO, topic, __VA_ARGS__)
#define log_debug(topic, ...)                                                                      \
    (log_debug_on(topic) ? log_write(LOG_LVL_DEBUG, topic, __VA_ARGS__) : (void)0)

/* Control bytes, quotes and invalid UTF-8 of `s` as \xNN, cut to what fits. Returns one of eight
 * thread-local buffers of LOG_ESC_BYTES: use it in the same log call only. */
#define LOG_ESC_BYTES 512
const char *log_esc(const char *s);
const char *log_escn(const char *s, size_t len);
