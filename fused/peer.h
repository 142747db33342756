/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The conversation with s3proxyd over the life of several of them. */
#pragma once

#include <stdint.h>

#include "fused/daemon.h"

/* The first connection; a is taken. 0 | -errno */
int peer_init(struct daemon *d, struct attached *a);
void *peer_thread(void *daemon);
/* Ends the connection of that generation (counted by notify_set_fd), if it is still in use. */
void peer_kick(uint64_t generation);
/* The clock's share: when the backend is gone for too long, calls fail. true: it is gone. */
bool peer_tick(struct daemon *d);
/* Says goodbye after the unmount and waits a little for what was still on its way. */
void peer_detach(struct daemon *d);
