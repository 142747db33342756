/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Releasing what a store hands out, the same for every store. */
#include "s3proxyd/store/store.h"

#include <stdlib.h>

void store_meta_fini(struct store_meta *m)
{
    free(m->etag);
    free(m->content_type);
    free(m->storage_class);
    free(m->version_id);
    for (size_t i = 0; i < m->nuser; i++) {
        free(m->user[i].name);
        free(m->user[i].value);
    }
    free(m->user);
    *m = (struct store_meta){0};
}

void store_req_fini(struct store_req *req)
{
    store_meta_fini(&req->meta);
    free(req->ret_upload_id);
    free(req->key_errors);
    for (size_t i = 0; i < req->nentries; i++) {
        free(req->entries[i].key);
        free(req->entries[i].etag);
    }
    free(req->entries);
    free(req->next_token);
    req->ret_upload_id = req->next_token = NULL;
    req->key_errors = NULL;
    req->entries = NULL;
    req->nentries = 0;
    req->got = 0;
    req->throttled = false;
    req->error = 0;
    req->error_text[0] = '\0';
}
