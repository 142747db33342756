/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One AHEAD per handle is under way at most; a lost one costs speed only. */
#include "fused/ahead.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "proto/client.h"

struct ahead {
    struct client_call call;
    struct handle *h;
};

static void answer(struct client_call *call, const struct client_reply *reply)
{
    struct ahead *a = container_of(call, struct ahead, call);
    struct msg_ahead_rep rep;

    /* A READ's reply may have set another place meanwhile: either is good. */
    if (reply->error == 0 && msg_unpack_ahead_rep(reply->fields, reply->fields_len, &rep) == 0)
        a->h->tell_at = rep.tell_at;
    handle_unref(a->h);
    free(a);
}

void ahead_come(struct daemon *d, struct handle *h, uint64_t end)
{
    uint64_t at = h->tell_at;

    if (at == 0 || end < at || !atomic_compare_exchange_strong(&h->tell_at, &at, 0))
        return;
    struct ahead *a = calloc(1, sizeof(*a));
    struct msg_ahead_req req = {.fh = h->fh, .offset = end};
    struct str fields = STR_NULL;
    int e = a ? msg_pack_ahead_req(&fields, &req) : -ENOMEM;
    if (e == 0) {
        a->h = handle_ref(h);
        e = client_start(d->client, &a->call, MSG_AHEAD, &fields, NULL, 0, answer);
        if (e < 0)
            handle_unref(h);
    }
    if (e < 0)
        free(a);
    str_fini(&fields);
}
