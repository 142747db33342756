/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The socket's side of the backend: who may connect, and frames to operations. Main loop only. */
#pragma once

#include "s3proxyd/op/op.h"

struct server;

/* Listens at path (replacing a dead socket there), or on an inherited descriptor when fd >= 0. mode: of
 * the socket file. 0 | -EADDRINUSE (somebody listens there) | -errno */
int server_new(struct fs *fs, const char *path, int fd, unsigned mode, struct server **ret_server);
void server_free(struct server *server); /* hangs up on everybody */
unsigned server_clients(const struct server *server);

/* client.c: one connection. Takes fd. */
struct rpc_client;
int rpc_client_new(struct server *server, struct fs *fs, int fd, struct list *clients);
void rpc_client_free(struct rpc_client *client);
struct rpc_client *rpc_client_first(struct list *clients);
