/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Small files read one after the other wait a round trip each, unless the next ones are fetched before they
 * are opened. Which ones, a listing says: the order of its entries is the order in which programs go
 * through a directory, and through the next one. See series.h for how many. */
#pragma once

#include <stdbool.h>

#include "s3proxyd/fs/fs.h"

/* A file was opened for reading; what is known of its directory decides. true: it continues a series, so
 * that it will probably be read from its start. */
bool files_ahead_opened(struct session *s, struct inode *inode);
void files_ahead_free(struct files_ahead *ahead); /* NULL is fine */
