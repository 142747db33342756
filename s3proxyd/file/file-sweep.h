/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The one housekeeping the file store does. */
#pragma once

#include "s3proxyd/file/file-store.h"

/* Removes what crashed backends left below .hafiz long ago. Best effort. */
void file_sweep(struct file_store *fs);
