/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* What each element of S3's documents does to the reply. The table at the end is the list of all we
 * read. */
#include "s3proxyd/aws/xml-fields.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"
#include "s3proxyd/aws/date.h"
#include "s3proxyd/aws/uri.h"

static const char blanks[] = " \t\r\n";

/* The text without blanks around it, for values that cannot hold any. */
static size_t trim(const char **text)
{
    *text += strspn(*text, blanks);
    size_t len = strlen(*text);
    while (len > 0 && strchr(blanks, (*text)[len - 1]))
        len--;
    return len;
}

static int set(char **field, const char *text, size_t len)
{
    if (*field) /* twice: which one would be meant? */
        return -EBADMSG;
    *field = strndup(text, len);
    return *field ? 0 : -ENOMEM;
}

static int set_trimmed(char **field, const char *text)
{
    size_t len = trim(&text);

    return set(field, text, len);
}

/* Cuts between characters, so that what was UTF-8 stays UTF-8. */
static void copy_cut(char *out, size_t size, const char *text)
{
    size_t len = trim(&text);

    if (len >= size) {
        len = size - 1;
        while (len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80)
            len--;
    }
    memcpy(out, text, len);
    out[len] = '\0';
}

static bool is_true(const char *text)
{
    return trim(&text) == 4 && strncasecmp(text, "true", 4) == 0;
}

/* Room for one more element of an array that doubles. */
static int grow(void **array, size_t n, size_t *cap, size_t element_bytes)
{
    if (n < *cap)
        return 0;
    if (n >= XML_ENTRIES_MAX)
        return -EMSGSIZE;
    size_t want = *cap ? 2 * *cap : 64;
    void *p = reallocarray(*array, want, element_bytes);
    if (!p)
        return -ENOMEM;
    *array = p;
    *cap = want;
    return 0;
}

/* Listings. */

static int entry_key(struct xml_build *b, const char *text)
{
    return set(&b->entry.key, text, strlen(text));
}

static int entry_etag(struct xml_build *b, const char *text)
{
    return set_trimmed(&b->entry.etag, text);
}

/* An odd date does not hide an object: it is shown without one. */
static int entry_time(struct xml_build *b, const char *text)
{
    char buf[64];

    copy_cut(buf, sizeof(buf), text);
    if (date_parse_iso(buf, &b->entry.mtime_ns) < 0)
        b->entry.mtime_ns = 0;
    return 0;
}

/* An odd size does: a file shown with a wrong one loses its end. */
static int entry_size(struct xml_build *b, const char *text)
{
    size_t len = trim(&text);
    uint64_t v = 0;

    if (len == 0 || len > 19 || b->has_size)
        return -EBADMSG;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -EBADMSG;
        v = v * 10 + (uint64_t)(text[i] - '0');
    }
    if (v > INT64_MAX)
        return -EBADMSG;
    b->entry.size = v;
    b->has_size = true;
    return 0;
}

static int add_entry(struct xml_build *b)
{
    struct xml_reply *r = &b->reply;
    int e = grow((void **)&r->entries, r->nentries, &b->entries_cap, sizeof(*r->entries));

    if (e < 0)
        return e;
    b->entry.key_len = strlen(b->entry.key);
    r->entries[r->nentries++] = b->entry;
    b->entry = (struct store_entry){0};
    b->has_size = false;
    return 0;
}

static int entry_end(struct xml_build *b, const char *text)
{
    (void)text;
    if (!b->entry.key || !b->has_size)
        return -EBADMSG;
    return add_entry(b);
}

static int prefix_end(struct xml_build *b, const char *text)
{
    (void)text;
    if (!b->entry.key)
        return -EBADMSG;
    b->entry.is_prefix = true;
    return add_entry(b);
}

static int list_truncated(struct xml_build *b, const char *text)
{
    b->reply.truncated = is_true(text);
    return 0;
}

static int list_encoding(struct xml_build *b, const char *text)
{
    size_t len = trim(&text);

    b->url_encoded = len == 3 && strncasecmp(text, "url", 3) == 0;
    return 0;
}

static int list_token(struct xml_build *b, const char *text)
{
    return set(&b->token, text, strlen(text)); /* opaque */
}

static int list_marker(struct xml_build *b, const char *text)
{
    return set(&b->marker, text, strlen(text));
}

/* Error documents. */

static int error_end(struct xml_build *b, const char *text)
{
    (void)text;
    b->reply.is_error = true;
    return 0;
}

#define ERROR_TEXT(field)                                                   \
    static int error_##field(struct xml_build *b, const char *text)         \
    {                                                                       \
        copy_cut(b->reply.error.field, sizeof(b->reply.error.field), text); \
        return 0;                                                           \
    }
ERROR_TEXT(code)
ERROR_TEXT(message)
ERROR_TEXT(region)
ERROR_TEXT(request_id)
ERROR_TEXT(endpoint)
ERROR_TEXT(bucket)

/* Results of single calls. */

static int result_upload_id(struct xml_build *b, const char *text)
{
    return set_trimmed(&b->reply.upload_id, text);
}

static int result_etag(struct xml_build *b, const char *text)
{
    return set_trimmed(&b->reply.etag, text);
}

static int result_time(struct xml_build *b, const char *text)
{
    int r = entry_time(b, text);

    b->reply.mtime_ns = b->entry.mtime_ns;
    return r;
}

/* DeleteResult. */

static int failed_key(struct xml_build *b, const char *text)
{
    return set(&b->failed.key, text, strlen(text));
}

static int failed_code(struct xml_build *b, const char *text)
{
    copy_cut(b->failed.code, sizeof(b->failed.code), text);
    return 0;
}

static int failed_message(struct xml_build *b, const char *text)
{
    copy_cut(b->failed.message, sizeof(b->failed.message), text);
    return 0;
}

static int failed_end(struct xml_build *b, const char *text)
{
    struct xml_reply *r = &b->reply;
    (void)text;

    if (!b->failed.key) /* somebody's failure, we cannot say whose: all of them, then */
        return -EBADMSG;
    int e = grow((void **)&r->failed, r->nfailed, &b->failed_cap, sizeof(*r->failed));
    if (e < 0)
        return e;
    r->failed[r->nfailed++] = b->failed;
    memset(&b->failed, 0, sizeof(b->failed));
    return 0;
}

#define LISTS (1u << XML_LIST | 1u << XML_LIST_V1)
static const struct xml_field fields[] = {
    {LISTS, "ListBucketResult/Contents", false, false, entry_end},
    {LISTS, "ListBucketResult/Contents/Key", true, false, entry_key},
    {LISTS, "ListBucketResult/Contents/Size", true, false, entry_size},
    {LISTS, "ListBucketResult/Contents/LastModified", true, false, entry_time},
    {LISTS, "ListBucketResult/Contents/ETag", true, false, entry_etag},
    {LISTS, "ListBucketResult/CommonPrefixes", false, false, prefix_end},
    {LISTS, "ListBucketResult/CommonPrefixes/Prefix", true, false, entry_key},
    {LISTS, "ListBucketResult/IsTruncated", true, false, list_truncated},
    {LISTS, "ListBucketResult/EncodingType", true, false, list_encoding},
    {1u << XML_LIST, "ListBucketResult/NextContinuationToken", true, false, list_token},
    {1u << XML_LIST_V1, "ListBucketResult/NextMarker", true, false, list_marker},
    {1u << XML_INITIATE, "InitiateMultipartUploadResult/UploadId", true, false, result_upload_id},
    {1u << XML_COMPLETE, "CompleteMultipartUploadResult/ETag", true, false, result_etag},
    {1u << XML_COPY, "CopyObjectResult/ETag", true, false, result_etag},
    {1u << XML_COPY, "CopyObjectResult/LastModified", true, false, result_time},
    {1u << XML_COPY, "CopyPartResult/ETag", true, false, result_etag},
    {1u << XML_COPY, "CopyPartResult/LastModified", true, false, result_time},
    {1u << XML_DELETE, "DeleteResult/Error", false, false, failed_end},
    {1u << XML_DELETE, "DeleteResult/Error/Key", true, false, failed_key},
    {1u << XML_DELETE, "DeleteResult/Error/Code", true, true, failed_code},
    {1u << XML_DELETE, "DeleteResult/Error/Message", true, true, failed_message},
    {0, "Error", false, false, error_end},
    {0, "Error/Code", true, true, error_code},
    {0, "Error/Message", true, true, error_message},
    {0, "Error/Region", true, true, error_region},
    {0, "Error/RequestId", true, true, error_request_id},
    {0, "Error/Endpoint", true, true, error_endpoint},
    {0, "Error/Bucket", true, true, error_bucket},
    {0, "Error/BucketName", true, true, error_bucket},
};

static const struct {
    enum xml_want want;
    const char *name;
} roots[] = {
    {XML_LIST, "ListBucketResult"},
    {XML_LIST_V1, "ListBucketResult"},
    {XML_INITIATE, "InitiateMultipartUploadResult"},
    {XML_COMPLETE, "CompleteMultipartUploadResult"},
    {XML_COPY, "CopyObjectResult"},
    {XML_COPY, "CopyPartResult"},
    {XML_DELETE, "DeleteResult"},
};

bool xml_fields_root_ok(enum xml_want want, const char *name)
{
    if (strcmp(name, "Error") == 0)
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(roots); i++)
        if (roots[i].want == want && strcmp(roots[i].name, name) == 0)
            return true;
    return false;
}

const struct xml_field *xml_fields_find(enum xml_want want, const char *path)
{
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        if ((fields[i].wants == 0 || fields[i].wants & 1u << want) &&
            strcmp(fields[i].path, path) == 0)
            return &fields[i];
    return NULL;
}

static int decode_key(struct xml_build *b, char **key, size_t *len)
{
    char *plain;

    if (!b->url_encoded)
        return 0;
    int r = uri_decode(*key, *len, true, *len, &plain, len);
    if (r < 0)
        return r;
    free(*key);
    *key = plain;
    return 0;
}

/* Decodes the keys and leaves out those that no name stands for. */
static int finish_entries(struct xml_build *b)
{
    struct xml_reply *r = &b->reply;
    size_t kept = 0;

    for (size_t i = 0; i < r->nentries; i++) {
        struct store_entry *e = &r->entries[i];
        int error = decode_key(b, &e->key, &e->key_len);
        if (error == -ENOMEM) {
            /* Close the gap, so that what is freed later is freed once. */
            memmove(&r->entries[kept], e, (r->nentries - i) * sizeof(*e));
            r->nentries -= i - kept;
            return error;
        }
        if (error < 0 || e->key_len == 0) {
            free(e->key);
            free(e->etag);
            r->nhidden++;
        } else {
            r->entries[kept++] = *e;
        }
    }
    r->nentries = kept;
    return 0;
}

/* Version 1 names the next page by the greatest name of this one, and may leave it to us to find
 * that. */
static int finish_marker(struct xml_build *b)
{
    struct xml_reply *r = &b->reply;
    const char *last = NULL;

    if (b->marker) {
        size_t len = strlen(b->marker);
        int error = decode_key(b, &b->marker, &len);
        if (error < 0)
            return error == -ENOMEM ? error : -EBADMSG;
        r->next_token = take(b->marker);
        return 0;
    }
    for (size_t i = 0; i < r->nentries; i++)
        if (!last || strcmp(r->entries[i].key, last) > 0)
            last = r->entries[i].key;
    if (!last)
        return -EBADMSG;
    r->next_token = strdup(last);
    return r->next_token ? 0 : -ENOMEM;
}

static int finish_list(struct xml_build *b)
{
    int r = finish_entries(b);

    if (r < 0 || !b->reply.truncated)
        return r;
    if (b->want == XML_LIST_V1)
        return finish_marker(b);
    if (!b->token || !*b->token)
        return -EBADMSG;
    b->reply.next_token = take(b->token);
    return 0;
}

int xml_fields_finish(struct xml_build *b)
{
    const struct xml_reply *r = &b->reply;

    if (r->is_error)
        return 0;
    switch (b->want) {
    case XML_LIST:
    case XML_LIST_V1:
        return finish_list(b);
    case XML_INITIATE:
        return r->upload_id && *r->upload_id ? 0 : -EBADMSG;
    case XML_COMPLETE:
    case XML_COPY:
        return r->etag && *r->etag ? 0 : -EBADMSG;
    case XML_DELETE:
        return 0;
    case XML_ERROR:
        break;
    }
    return -EBADMSG;
}

void xml_fields_fini(struct xml_build *b)
{
    free(b->entry.key);
    free(b->entry.etag);
    free(b->failed.key);
    free(b->token);
    free(b->marker);
    xml_reply_fini(&b->reply);
}

void xml_reply_fini(struct xml_reply *r)
{
    for (size_t i = 0; i < r->nentries; i++) {
        free(r->entries[i].key);
        free(r->entries[i].etag);
    }
    for (size_t i = 0; i < r->nfailed; i++)
        free(r->failed[i].key);
    free(r->entries);
    free(r->failed);
    free(r->next_token);
    free(r->upload_id);
    free(r->etag);
    *r = XML_REPLY_NULL;
}
