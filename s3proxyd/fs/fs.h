/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* The data model of the backend: trees of inodes, sessions that hold them, handles that use them. All of it
 * lives on the main loop; no locks. Functions that may have to wait come in the step form of op/op.h and
 * are found in probe.h, dir.h and commit.h; everything here is immediate.
 *
 * Who keeps an inode in memory: its `refs`. One reference each for every session that the kernel looked it up
 * in, every handle, every running operation, every child in memory, and one from its directory
 * while the directory's listing is kept (`listed`). */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "proto/base/list.h"
#include "proto/base/table.h"
#include "proto/chan.h"
#include "proto/msg.h"
#include "s3proxyd/cache/cache.h"
#include "s3proxyd/conf/conf.h"
#include "s3proxyd/db/db.h"
#include "s3proxyd/net/net.h"
#include "s3proxyd/spool/spool.h"
#include "s3proxyd/store/store.h"

struct files_ahead;

struct fs {
    struct loop *loop;
    struct mailbox *home;
    struct pool *pool;
    struct net *net;
    struct db *db;
    struct cache *cache;
    struct spool_dir *spools;
    const struct conf *conf;
    struct table inodes; /* by number */
    struct table names;  /* by (parent, name) */
    struct table users;  /* struct user, by uid */
    struct list trees, sessions, walks;
    struct list dirty;   /* inodes with unsaved data */
    struct list warm_jobs;
    uint64_t warm_last;  /* number of the newest of them */
    struct loop_timer *sweep, *retry;
    uint64_t change;     /* the stamp of the newest change */
    uint64_t instance;   /* of this process */
    uint64_t started_ns;
    uid_t own_uid;
    bool private_backend;
    bool closing;        /* the process ends: rows stay, the mounts will be back */
    uint64_t first_ino;  /* smaller numbers are of earlier processes */
    bool swept;          /* their forgotten rows are removed */
    uint64_t ops;        /* running */
    uint64_t listings;   /* requests for pages under way, also those nobody waits for */
    uint64_t commit_failures;
};

/* Waiting without threads: whoever cannot have the lock is queued and run when it is its turn. */
struct alock {
    struct list waiters;
    void *holder;
};
struct alock_wait {
    struct list link;
    void *who;
    void (*granted)(struct alock_wait *wait); /* later, from alock_release() */
};
void alock_init(struct alock *lock);
/* true: `who` holds it now; false: wait->granted runs once it does. */
bool alock_acquire(struct alock *lock, struct alock_wait *wait);
void alock_release(struct alock *lock, void *who);

/* One bucket as one identity sees it. Two identities never share listings, attributes or inodes; changes
 * made through one are told to the other (tree_echo). */
struct tree {
    struct list link;
    struct fs *fs;
    struct store *store;
    struct cred *cred;   /* NULL for the file store */
    uint64_t bucket_no;  /* db_bucket() */
    uint64_t scope;      /* cred_scope(), for the cache */
    struct inode *root;  /* key "" */
    struct alock topology; /* held while a directory goes to another one: no two into each other */
    unsigned sessions;
    bool unordered;      /* its pages do not come in the order of S3: no two are asked side by side */
};

/* A directory's contents. Slots give readdir stable cookies: an entry keeps its slot for life, removed ones
 * leave a NULL. Slots are packed when nobody has read the directory for a while, or far too many are
 * empty; the packed ones get cookies above all earlier ones, so that a reader in the middle may see an
 * entry twice, but misses none. */
#define DIR_ABSENT 16u
struct dir {
    struct inode **slots;
    size_t nslots, cap, live;
    uint64_t base;          /* cookie of the first slot; see dir_cookie() */
    bool complete;          /* slots held every name when it was listed at listed_ns */
    bool rows_loaded;       /* rows of inodes.db below here are in memory */
    bool marker;            /* the marker object `key/` is known to exist */
    bool listing_saved;     /* meta.db has, or may have from an earlier process, a listing of it */
    uint64_t listed_ns;     /* CLOCK_MONOTONIC, start of the listing; 0: never */
    uint64_t expired_ns;    /* last dir_expire(): a listing asked for before is out of date */
    enum { DIR_FOR_READER, DIR_FOR_NAME, DIR_FOR_WALK } made_for; /* whom it was listed for */
    bool large;             /* the last listing had more than one page */
    unsigned probes;        /* single names asked since the last listing */
    char *covered;          /* what the first page decided about, up to this key; see dir_covers() */
    uint64_t covered_ns;
    uint64_t hidden;        /* keys of the last listing that cannot be shown as paths */
    uint64_t read_ns;       /* last readdir */
    uint64_t trimmed_ns;    /* last dir_trim() */
    struct dir_absent {     /* names the store lately said were absent; a ring */
        uint64_t hash, asked_ns;
    } absent[DIR_ABSENT];
    unsigned absent_next;
    struct dir_load *load;  /* one at a time; others wait for it */
    struct walk *walk;      /* through what lies below */
    size_t ahead;           /* entries a walk brought before anybody asked; 0 once somebody looked */
    unsigned kids;          /* directories in it that were listed one by one, lately */
    unsigned walk_failures; /* walks that found nothing but large directories */
    unsigned descent;       /* so many directories above it were listed to follow a path, it included */
    uint64_t descent_ns;
    size_t kid_slot;        /* the last of kids */
    uint64_t kids_ns;
};

struct inode {
    struct table_node by_ino, by_name;
    struct list dirty_link;  /* fs->dirty */
    struct tree *tree;
    struct inode *parent;    /* referenced; NULL: a root, or no longer named */
    char *name;
    uint64_t ino;
    unsigned refs, sessions, handles, writers;
    bool is_dir;
    bool listed;             /* its directory keeps it */
    bool gone;               /* unlinked or replaced by somebody else: has no name any more */
    bool row_saved;
    bool created;            /* made here and never committed: no object is behind it yet */
    bool excl;               /* made with O_EXCL: the first commit is create-only */
    bool untouched;          /* created and not written yet: committed at release only */
    size_t slot;             /* in parent's dir, when listed */

    uint32_t set;            /* DB_SET_*: attributes that are ours, not the store's */
    uint32_t mode, uid, gid; /* permission bits only */
    int64_t atime_ns, mtime_ns, ctime_ns;

    char *etag;              /* version in the store; NULL: none or unknown */
    uint64_t size;
    int64_t store_mtime_ns;
    uint64_t row_ns;         /* when its row was last handed to the database; 0: never */
    uint64_t fetched_ns;     /* CLOCK_MONOTONIC of when the store said so; 0: must ask */
    uint64_t mention_ns;     /* start of the last listing that mentioned it */
    uint64_t changed;        /* fs->change of the newest change made here */
    uint64_t data_changed;   /* fs->change of the newest change of its bytes, whoever made it */

    struct dir *dir;         /* directories */
    struct cache_obj *obj;   /* the version `etag`, once somebody opened it */
    struct spool *spool;     /* unsaved or recently saved data */
    struct commit *commit;   /* under way */
    int commit_error;        /* sticky: of the last commit, until one succeeds */
    char commit_text[256];
    uint64_t failed_ns, retry_ns, retries;
    struct alock append;     /* one O_APPEND write at a time */
    bool moving;             /* renamed or removed just now: what needs its key or a key below waits */
    struct list move_waiters;
};

/* What one uid uses; lives as long as the process. */
struct user {
    struct table_node node;
    uid_t uid;
    uint64_t connections, mounts, handles; /* now */
    uint64_t calls, bytes_read, bytes_written; /* ever */
    unsigned files_ahead; /* being fetched before they are opened */
};

struct session {
    struct list link;
    struct fs *fs;
    struct tree *tree;
    struct inode *root;
    struct chan *rpc, *push; /* push: NULL until BIND */
    struct session **push_ref; /* where the push connection remembers us; cleared when we end */
    uint8_t instance[16], token[PROTO_TOKEN_BYTES];
    uid_t peer_uid;
    struct user *user;
    bool rw, cto, resumed;
    uint64_t attr_ttl_ms;
    uint32_t uid, gid, file_mode, dir_mode;
    char *source, *mountpoint, *volume;
    struct table held;       /* struct held, by inode */
    struct table handles;    /* struct handle, by fh */
    struct list ops;         /* running, nops of them */
    unsigned nops;
    bool push_all_due;       /* its push queue ran over: "everything" once there is room */
    void *ring;              /* PROTO_RING_BYTES, or NULL on read-only sessions */
    int ring_fd;
    uint64_t calls;
    struct files_ahead *files_ahead; /* NULL until a file of a known directory was opened */
    bool dead;               /* connection gone; freed when the last op ended */
};

struct held {
    struct table_node node;
    struct inode *inode;
    uint64_t lookups;
    uint64_t data_seen;      /* fs->change up to which the kernel's pages of it are good */
};

struct handle {
    struct table_node node;
    struct session *session;
    struct inode *inode;
    uint64_t fh;
    bool writes, append;
    unsigned busy;           /* operations using it */
    bool released;
    struct cache_obj *obj;   /* the version whose descriptors the client has */
    struct cache_history history;
};

/* ---- fs.c */
struct fs_config {
    struct loop *loop;
    struct mailbox *home;
    struct pool *pool;
    struct net *net;
    struct db *db;
    struct cache *cache;
    struct spool_dir *spools;
    const struct conf *conf;
    bool private_backend;
};
int fs_new(const struct fs_config *config, struct fs **ret_fs);
void fs_free(struct fs *fs);
uint64_t fs_dirty_files(const struct fs *fs);
bool fs_idle(const struct fs *fs); /* no session, nothing unsaved */
bool fs_quiet(const struct fs *fs); /* nothing is waited for: fs_free() may be called */

/* ---- tree.c: one per (store, endpoint, bucket, credentials) */
struct tree *tree_find(struct fs *fs, const char *endpoint, const char *bucket,
                       const struct cred *cred);
/* Takes store and cred on success. 0 | -errno */
int tree_new(struct fs *fs, struct store *store, struct cred *cred, struct tree **ret_tree);
void tree_release(struct tree *tree); /* a session ended */
/* Does a question take long enough that asking ahead pays? */
bool tree_is_far(const struct tree *tree);
/* Something at parent/name changed through `tree`: other trees of the bucket must ask again. */
void tree_echo(struct tree *tree, struct inode *parent, const char *name);

/* ---- key.c: names and keys (pure) */
/* May this name be an object's path component? 0 | -EINVAL | -ENAMETOOLONG | -EILSEQ */
int key_name_check(const char *name, size_t len);
/* The name of a listing's entry below prefix, without a trailing '/'. NULL: not reachable, hide it. */
const char *key_entry_name(const char *key, size_t key_len, size_t prefix_len, size_t *ret_len);
/* Key of an inode; a directory's ends in '/' ("" for the bucket's root). malloc'd.
 * 0 | -ENOMEM | -ENAMETOOLONG (over 1024 bytes) | -ESTALE (it has no name any more) */
int inode_key(const struct inode *inode, char **ret_key);
int inode_child_key(const struct inode *parent, const char *name, bool is_dir, char **ret_key);
/* Path below `root` for people: "dir/file". malloc'd or NULL. */
char *inode_path(const struct inode *inode, const struct inode *root);

/* ---- inode.c */
struct inode *inode_find(struct fs *fs, uint64_t ino);
struct inode *inode_child(const struct inode *parent, const char *name, size_t len);
/* A new inode with that name; ino 0: a fresh number. Referenced once, for the caller. */
int inode_new(struct tree *tree, struct inode *parent, const char *name, size_t len, bool is_dir,
              uint64_t ino, struct inode **ret_inode);
struct inode *inode_ref(struct inode *inode);
void inode_unref(struct inode *inode);
static inline void inode_unrefp(struct inode **i)
{
    if (*i)
        inode_unref(*i);
}
bool inode_below(const struct inode *inode, const struct inode *root); /* or equal */
/* Is it, or a directory above it, being renamed? */
bool inode_busy_moving(const struct inode *inode, struct inode **ret_moving);
bool inode_dirty(const struct inode *inode);
/* Surely not in the store: made here, and no save tried that may have had its effect in spite of an error. */
bool inode_unstored(const struct inode *inode);
uint64_t inode_size(const struct inode *inode);
bool inode_fresh(const struct inode *inode, uint64_t ttl_ms);
void inode_attr(const struct inode *inode, const struct session *s, struct msg_attr *ret);
/* Its version may soon be gone: what is cached of it stays readable for those who have it open. */
void inode_keep_last(struct inode *inode);
/* Takes the name away (unlinked, or replaced by somebody else). */
void inode_detach(struct inode *inode);
/* Moves to another name; whatever had that name must be detached before. 0 | -ENOMEM */
int inode_move(struct inode *inode, struct inode *new_parent, const char *name, size_t len);
void inode_save_row(struct inode *inode);
/* Marks a change made here: raises the stamp, moves the directory's mtime if `parent`. */
void inode_changed(struct inode *inode);
void inode_touch_dir(struct inode *dir);
void inode_set_version(struct inode *inode, const char *etag, uint64_t size, int64_t mtime_ns,
                       uint64_t fetched_ns);
/* Opens the cache's object of the current version if not yet done. 0 | -errno */
int inode_obj(struct inode *inode, struct cache_obj **ret_obj);
void inode_drop_obj(struct inode *inode);
/* Its version is no more (overwritten or removed here): the cache need not keep it. Call it before the
 * change. */
void inode_forget_cached(struct inode *inode);
/* What the store said about a name at `asked` (change stamp and time of the request's start).
 * Makes, updates or replaces the child. *ret_child is referenced. */
struct inode_news {
    bool is_dir;
    const char *etag;
    uint64_t size;
    int64_t mtime_ns;
    uint64_t asked_ns, asked_change;
};
int inode_learn(struct inode *parent, const char *name, size_t len, const struct inode_news *news,
                struct inode **ret_child);
/* The store said that the name is absent. Keeps what was changed here since, and unsaved files. */
void inode_learn_absent(struct inode *inode, uint64_t asked_change);

/* ---- session.c */
/* Of the user behind rpc. 0 | -ENOMEM | -EIO */
int session_new(struct fs *fs, struct tree *tree, struct inode *root, struct chan *rpc,
                struct session **ret_session);
void session_hang_up(struct session *s); /* connection gone: releases what it held */
void session_op_ended(struct session *s); /* frees a dead session with its last op */
int session_hold(struct session *s, struct inode *inode);
void session_forget(struct session *s, uint64_t ino, uint64_t count);
bool session_holds(const struct session *s, const struct inode *inode);
/* May the kernel keep the pages it has from earlier opens? Answers for what follows, too. */
bool session_pages_good(struct session *s, const struct inode *inode);
struct session *session_find_instance(struct fs *fs, const uint8_t *instance);
struct session *session_find_token(struct fs *fs, const uint8_t *token);
int session_ring_new(struct session *s); /* the shared write ring */

/* ---- user.c */
struct user *user_get(struct fs *fs, uid_t uid); /* NULL: out of memory */
void users_free(struct fs *fs);

/* ---- handle.c */
int handle_new(struct session *s, uint64_t fh, struct inode *inode, unsigned flags,
               struct handle **ret_handle);
struct handle *handle_find(struct session *s, uint64_t fh);
void handle_release(struct handle *h); /* closed by the client: commits what is unsaved */

/* ---- push.c: INVALIDATE to every session but `except` that may have it cached */
void push_attr(struct inode *inode, const struct session *except, bool data);
void push_entry(struct inode *parent, const char *name, const struct session *except);
void push_all(struct session *s);
void push_prefetched(struct session *s);
void push_retry(struct fs *fs); /* now and then: sends what is due */
