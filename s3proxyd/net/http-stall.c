/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Does a request's body still leave? libcurl fetches half a MiB of it at once and the kernel takes
 * more; until a slow line has carried that off, which may take longer than the stall timeout,
 * neither asks for the next piece. What the other side has acknowledged tells. */
#include "s3proxyd/net/http-curl.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

bool http_body_moved(struct http *x)
{
    curl_off_t handed = 0;
    int queued = 0;

    if (!x->body.length || !x->easy || x->fd < 0)
        return false;
    if (curl_easy_getinfo(x->easy, CURLINFO_SIZE_UPLOAD_T, &handed) != CURLE_OK ||
        ioctl(x->fd, SIOCOUTQ, &queued) < 0)
        return false;
    uint64_t left = (uint64_t)handed - (uint64_t)queued; /* less than nothing while the head leaves */
    bool moved = left != x->body_left;
    x->body_left = left;
    return moved;
}
