/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* One call of a client, from its frame to its reply: a list of named steps run in order.
 *
 * A step returns  0             next step
 *                 -EINPROGRESS  op_wake() will be called; then the next step (or the end, on its error)
 *                 OP_PARK       op_wake() will be called; then this step again
 *                 OP_DONE       the reply has been sent
 *                 OP_RESTART    the first step again, see op_restart()
 *                 other -errno  the op fails with it
 * The runner owns replying exactly once, cancelling, a client that is gone, and the release of everything an
 * op holds. The last step of every op sends the reply. Everything on the main loop. */
#pragma once

#include "s3proxyd/fs/commit.h"
#include "s3proxyd/fs/dir.h"
#include "s3proxyd/fs/fs.h"
#include "s3proxyd/fs/probe.h"

#define OP_PARK 1
#define OP_DONE 2
#define OP_RESTART 3

struct op;

struct op_step {
    const char *name;
    int (*run)(struct op *op);
};

enum op_needs { OP_READS = 0, OP_WRITES = 1 };  /* OP_WRITES: EROFS on a read-only session */
enum op_cancel { OP_WAITS = 0, OP_CANCELS = 2 }; /* OP_CANCELS: CANCEL answers EINTR at once */

struct op_type { /* one row per request method, in op-table.c */
    enum msg_method method;
    unsigned flags; /* op_needs | op_cancel */
    int (*unpack)(struct op *op, const struct msg_head *head);
    const struct op_step *steps; /* ends with {NULL, NULL} */
    size_t priv_bytes;           /* zeroed memory in op->priv */
    void (*fini)(struct op *op); /* or NULL: releases what hangs on priv */
};
const struct op_type *op_type(enum msg_method method);

struct name_lock;
struct op_name { /* a name this op holds against all others */
    struct name_lock *lock;
    struct alock_wait wait;
};

/* The connection an op answers on; embedded in rpc/client.c. */
struct op_conn {
    struct fs *fs;
    struct chan *chan;       /* NULL: gone */
    struct session *session; /* after ATTACH */
    struct list ops;         /* those without a session */
    bool is_push, attaching;
};

struct op {
    struct list link;          /* session->ops or conn->ops */
    struct fs *fs;
    struct session *session;   /* or NULL: ATTACH, BIND, STATUS, REFRESH */
    struct op_conn *conn;      /* only while session is NULL; NULL: client gone */
    const struct op_type *type;
    uint32_t call;
    struct frame frame;        /* what req's strings point into */
    unsigned step, tries;
    uint64_t asked_ns;         /* since when it wants to know: op_child() */
    bool running, woken, replied;
    bool saved;                /* FLUSH, FSYNC: something was */
    bool fresh_fds;            /* READ: the handle's descriptors are of an older version */
    bool looked_ahead;         /* OPEN: files behind it are being fetched */
    int wake_error;
    union {
#define OP_REQ_(NAME, name, id, phase, replay, payload) struct msg_##name##_req name;
        MSG_TABLE(OP_REQ_)
#undef OP_REQ_
    } req;

    /* What steps leave for later steps; released by the runner. */
    struct inode *inode, *parent, *new_parent, *child, *target; /* references */
    struct handle *handle;     /* marked busy */
    struct op_name names[2];
    struct alock *append;      /* held */
    struct alock *topology;    /* held: tree->topology */
    struct inode *still[2];    /* references; op_still() */

    /* One wait at a time. */
    struct dir_wait dir_wait;
    struct probe probe;
    struct cache_wait cache_wait;
    struct commit_wait commit_wait;
    struct spool_io io;
    struct db_read db_read;
    struct store_req store;
    struct alock_wait alock_wait;
    struct move_wait {
        struct list link;
        struct op *op;
    } move_wait;
    char *key, *key2;          /* owned */
    void *buf;                 /* owned */
    struct op_load *load;      /* op-resolve.c */
    struct loop_task task;     /* op_wake_soon() */
    void *priv;
};

/* Starts the op of a request. Takes frame's memory. -EPROTO: the fields do not decode */
int op_start(struct fs *fs, struct session *s, struct op_conn *conn, const struct msg_head *head,
             struct frame *frame);
void op_wake(struct op *op, int error);
void op_wake_soon(struct op *op); /* from the loop: for wakers that would be nested without end */
void op_cancel(struct session *s, uint32_t call);
void op_conn_gone(struct op_conn *conn); /* its ops go on without anyone to answer */

/* Replies; the packed fields follow op_reply_begin(). */
int op_reply_begin(struct op *op, struct str *head);
int op_reply_end(struct op *op, struct str *head, const void *payload, size_t payload_len,
                 const int *fds, unsigned nfds); /* OP_DONE */
#define OP_REPLY(op, name, ...)                                                                    \
    ({                                                                                             \
        struct str head_ = STR_NULL;                                                               \
        struct msg_##name##_rep rep_ = {__VA_ARGS__};                                              \
        int r_ = op_reply_begin((op), &head_);                                                     \
        if (r_ == 0)                                                                               \
            r_ = msg_pack_##name##_rep(&head_, &rep_);                                             \
        if (r_ == 0)                                                                               \
            r_ = op_reply_end((op), &head_, NULL, 0, NULL, 0);                                     \
        str_fini(&head_);                                                                          \
        r_;                                                                                        \
    })

/* ---- shared steps and helpers (op-resolve.c, op-name.c) */

/* The inode of a number, checked against the session's root; loads it after a restart; waits while it or a
 * directory above it is being renamed. 0 and *ret referenced | OP_PARK | -ESTALE | -errno */
int op_resolve(struct op *op, uint64_t ino, struct inode **ret);
int op_resolve_dir(struct op *op, uint64_t ino, struct inode **ret); /* also -ENOTDIR */
int op_handle(struct op *op, uint64_t fh); /* → op->handle, op->inode. 0 | OP_PARK | -EBADF */
/* Locks one or two names of directories against other ops, always in the same order, and enters: from here
 * on a rename or removal of a directory above waits for this op, and it need not wait for one that came
 * later. For steps after op_resolve_dir(). 0 | OP_PARK (this step again, or all from the first) | -ENOENT */
int op_lock_name(struct op *op, struct inode *parent, struct msg_str name);
int op_lock_names(struct op *op, struct inode *p1, struct msg_str n1, struct inode *p2,
                  struct msg_str n2);
void op_unlock_names(struct op *op);
/* What the steps up to now found may be wrong: lets go of it, so that the op begins anew. OP_RESTART */
int op_restart(struct op *op);
/* Until the op ends, nobody saves the inode or anything below it, writes to it, or enters below it; it waits
 * for those who had begun. The op holds its name. 0 | OP_PARK | OP_RESTART (the name is not its any more) */
int op_still(struct op *op, struct inode *inode);
void op_unstill(struct op *op); /* wakes who waited */
/* Is an op other than `self` inside a directory at or below dir? Then self is woken later. */
bool op_wait_inside(struct op *self, const struct inode *dir);
/* op->child = what the name is, asking the store unless it is known; NULL: absent.
 * Call it as a step of its own: 0 | -EINPROGRESS with the answer put in op->child | OP_PARK (rows) */
int op_child(struct op *op, struct inode *parent, struct msg_str name, bool ask_always);
/* Same for the inode itself: fresh or asked again. -ESTALE: it is another one now. */
int op_freshen(struct op *op, struct inode *inode, bool ask_always);
/* Submits op->store; its error wakes the op. Always -EINPROGRESS. */
int op_store(struct op *op);
/* Time the kernel may keep what we know of the inode. */
uint64_t op_ttl_ms(const struct op *op, const struct inode *inode);
/* A directory without a marker of its own would vanish with its last child: writes the marker first. */
int op_keep_dir(struct op *op); /* op->parent */
/* OP_PARK: its key is changing. 0 | -EINPROGRESS | OP_PARK | -errno */
/* Waits until the rows written so far outlive a kill of this process; cannot fail. A step of its own. */
int op_rows_kept(struct op *op);
int op_commit(struct op *op, struct inode *inode);
