/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Where a user's private backend keeps its things. Never in /tmp; every directory is the caller's
 * own and closed to others, so that nobody can lay a socket or a log there for us. All results are
 * malloc'd; *ret_why is a text for the user. 0 | -ENOMEM | -errno */
#pragma once

char *place_home(void); /* $HOME if it is ours, else from the user database; NULL: none */
int place_socket_dir(char **ret_dir, char **ret_why);
int place_state_dir(char **ret_dir, char **ret_why);
/* wanted: NULL for the default. One that others may write gets a closed one inside. */
int place_cache_dir(const char *wanted, char **ret_dir, char **ret_why);
