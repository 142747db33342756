/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* A store request on its way through S3. It is born on the main loop, lives on one transfer thread,
 * and goes home when it has an answer:
 *
 *   start → [digest the body] → build, sign → exchange → judge → answer
 *              ↑                                          │
 *              └── back-off, other region, clock, probe ──┘
 *
 * What is particular to an operation is in its row (struct s3_op); the engine in s3-request.c knows
 * none. */
#pragma once

#include "s3proxyd/aws/digest.h"
#include "s3proxyd/s3/s3-call.h"

struct s3_request;

/* What an operation makes of an answer; or a negative errno: that is the end, text in
 * req->error_text. */
enum s3_step {
    S3_STEP_DONE,   /* success */
    S3_STEP_AGAIN,  /* build and send what is next, not counted as a retry */
    S3_STEP_BROKEN, /* not what S3 sends: judged as rq->broken */
};

struct s3_op { /* an operation's row */
    const char *name;
    unsigned ctx; /* S3_CTX_ bits that hold for every request of this kind */
    void (*build)(struct s3_request *rq); /* fills rq->call */
    /* Takes a success's body instead of the XML reader. 0 | -errno (with rq->broken set: judged as
     * that) */
    int (*on_data)(struct s3_request *rq, const void *data, size_t len);
    int (*on_reply)(
        struct s3_request *rq); /* the reply was a success and is complete: enum s3_step | -errno */
    /* The verdict is final. NULL, or the same error returned: it stands. enum s3_step | -errno */
    int (*on_refused)(struct s3_request *rq, const struct s3_verdict *v);
    void (*fini)(
        struct s3_request *rq); /* before going home, whatever happened. NULL: nothing to do */
};

struct s3_sink { /* of a GET, see s3-get.c */
    char *buf;
    size_t fill;
    uint64_t want, pos;   /* of the whole range: bytes wanted, bytes received */
    uint64_t attempt_pos; /* pos when the exchange began */
    uint64_t skip;        /* bytes of a whole-object reply still before the range */
    bool checked, full;
    uint32_t crc;
    char *etag; /* what the first reply was of, unless the request says */
};

struct s3_many {          /* of a DELETE_MANY, see s3-delete.c */
    unsigned char *state; /* per key */
    size_t single;        /* the key being deleted alone; nkeys: a batch is under way */
};

struct s3_request {
    struct store_req *req;
    struct s3_store *store;
    const struct s3_op *op, *main_op; /* differ while a probe runs */

    /* main loop */
    struct net_thread *posted_to;
    struct mail cancel_mail;
    void (*home)(struct mail *mail), (*cancel_home)(struct mail *mail);
    bool cancel_out; /* the cancel mail is under way; rq must wait for it */
    bool finished;

    /* both: one progress mail at most is under way */
    struct mail progress_mail;
    _Atomic uint64_t progress;
    _Atomic bool progress_out;

    /* transfer thread */
    struct net_thread *thread;
    struct http http;
    struct s3_call call;
    const struct s3_route *route; /* the attempt's */
    struct xml *xml;
    struct xml_reply reply; /* of the last exchange, when it carried XML */
    enum s3_broken broken;  /* S3_BROKEN_COUNT: none */
    struct loop_timer *retry_timer, *deadline_timer;
    uint64_t give_up_ns; /* no retry starts after that */
    unsigned tries, limited_tries, fee;
    bool busy, waiting, late, ended;
    bool fresh_next, rerouted, clock_set, reused_once;
    bool uncertain; /* an attempt whose outcome is unknown may have taken effect */

    /* digest of the body, see s3-payload.c */
    struct digest *digest;
    enum digest_kind digest_kind;
    char *digest_buf;
    uint64_t digest_pos;
    struct loop_task digest_task;
    void (*digest_ready)(struct s3_request *rq, int error);
    char payload_hex[DIGEST_SHA256_HEX_SIZE]; /* "" until known */
    uint8_t payload_md5[DIGEST_MD5_BYTES];
    bool has_md5, md5_known; /* tried, and found */

    struct s3_verdict pending; /* what the probe was started for */
    char pending_text[256];
    struct s3_sink sink;
    struct s3_many many;
};

/* Main loop. Submitting makes req->mail come home once, cancelling cancel_mail, both to the net's
 * home mailbox; rq is the main loop's again when all that was sent out has come back. */
void s3_request_submit(struct s3_request *rq, void (*home)(struct mail *mail));
void s3_request_cancel(struct s3_request *rq, void (*home)(struct mail *mail));

/* Transfer thread, for the operations. */
unsigned s3_request_ctx(const struct s3_request *rq);
/* The last exchange brought an answer, if not the wanted one, and nobody lost patience. */
bool s3_request_answered(const struct s3_request *rq);
void s3_request_attempt(struct s3_request *rq); /* sends the current operation, now */
void s3_request_end(struct s3_request *rq, int error);

/* s3-judge.c: the exchange is over; goes on with the request as it deserves. */
void s3_judge_exchange(struct s3_request *rq);
enum s3_broken s3_judge_xml(int error); /* of xml_feed() and xml_finish() */

/* s3-payload.c: ready() comes when the digest of the request's body is in rq, or cannot be. */
void s3_payload_start(struct s3_request *rq, enum digest_kind kind,
                      void (*ready)(struct s3_request *rq, int error));
void s3_payload_fini(struct s3_request *rq);

/* s3-probe.c: looks whether an earlier attempt took effect and goes on accordingly. */
void s3_probe_start(struct s3_request *rq, const struct s3_verdict *v);

/* s3-reply.c */
/* error_text, in one clean line; or "STATUS Code: message, request id" of the last exchange, code
 * if its document has none. */
void s3_reply_text(struct s3_request *rq, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void s3_reply_explain(struct s3_request *rq, const char *code);
int s3_reply_meta(struct s3_request *rq);            /* headers → req->meta; 0 | -ENOMEM */
int s3_reply_stored(struct s3_request *rq);          /* of a body we sent; S3_STEP_* or -ENOMEM */
bool s3_reply_etag_eq(const char *a, const char *b); /* W/ and quotes do not count */
bool s3_reply_etag_md5(const char *etag, uint8_t out[DIGEST_MD5_BYTES], unsigned *ret_parts);

/* Rows, one per store operation. */
extern const struct s3_op s3_op_check, s3_op_list;
extern const struct s3_op s3_op_head, s3_op_put, s3_op_copy, s3_op_delete, s3_op_get;
extern const struct s3_op s3_op_delete_many;
extern const struct s3_op s3_op_mpu_create, s3_op_mpu_part, s3_op_mpu_part_copy, s3_op_mpu_complete,
    s3_op_mpu_abort;
