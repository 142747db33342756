/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What else touches .hafiz/uploads: the limit the store announces, and the sweep of forgotten
 * uploads. */
#pragma once

#define FILE_PARTS_MAX 10000u

void file_upload_remove(int uploads, const char *id); /* best effort */
