/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The push connection: INVALIDATE from the backend into the kernel, CANCEL to the backend. */
#pragma once

#include <stdint.h>

#include "fused/daemon.h"

/* A new connection and with it a new time: older pushes and stamps do not count any more, and
 * whatever was missed in between is made up for by forgetting everything (unless it is the first
 * one). Takes fd. */
void notify_set_fd(struct daemon *d, int fd);
/* Has the kernel forget these bytes of a file, soon; or not, when too much else is to be forgotten. */
void notify_drop_pages(uint64_t ino, uint64_t from, uint64_t to);
/* Gives up waiting for a call; lost when there is no connection. */
void notify_cancel(uint32_t call_id);

void *notify_reader_thread(void *daemon);
void *notify_apply_thread(void *daemon);
