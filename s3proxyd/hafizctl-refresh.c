/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* `hafizctl refresh PATH`: which mount the path lies in (the kernel's mount table), which backend serves
 * that mount (its STATUS names mount points), and the message. A backend knows where a mount was made, not
 * where it was bind-mounted to, so all mount points of one device count as one mount. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/must.h"
#include "proto/client.h"
#include "s3proxyd/hafizctl.h"

#define MOUNTS_MAX 65536u
#define REFRESH_TIMEOUT_MS 30000u

struct mounts {
    struct ctl_mount *list;
    size_t n;
};

void ctl_mount_fini(struct ctl_mount *m)
{
    free(m->root);
    free(m->mountpoint);
    free(m->fstype);
    *m = (struct ctl_mount){0};
}

static void mounts_fini(struct mounts *m)
{
    for (size_t i = 0; i < m->n; i++)
        ctl_mount_fini(&m->list[i]);
    free(m->list);
}

/* The kernel writes space, tab, newline and backslash as three octal digits. */
static void unescape(char *s)
{
    char *to = s;
    for (; *s; s++) {
        unsigned v = 0;
        bool octal = *s == '\\';
        for (unsigned i = 1; octal && i <= 3; i++) {
            octal = s[i] >= '0' && s[i] <= '7';
            v = v * 8 + (unsigned)(s[i] - '0');
        }
        *to++ = octal ? (char)v : *s;
        s += octal ? 3 : 0;
    }
    *to = 0;
}

/* 36 35 98:0 /root /mount/point rw,noatime shared:1 - fuse.hafiz source options */
int ctl_mount_parse(char *line, struct ctl_mount *ret)
{
    char *save = NULL, *words[6];
    for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
        if (!(words[i] = strtok_r(i ? NULL : line, " \n", &save)))
            return -EINVAL;
    char *word;
    while ((word = strtok_r(NULL, " \n", &save)) && strcmp(word, "-"))
        continue;
    char *fstype = word ? strtok_r(NULL, " \n", &save) : NULL;
    char *minor = strchr(words[2], ':');
    uint64_t dev_major, dev_minor;
    if (!fstype || !minor)
        return -EINVAL;
    *minor++ = 0;
    if (str_to_u64(words[2], 10, &dev_major) < 0 || str_to_u64(minor, 10, &dev_minor) < 0)
        return -EINVAL;
    unescape(words[3]);
    unescape(words[4]);
    struct ctl_mount m = {strdup(words[3]), strdup(words[4]), strdup(fstype),
                          (unsigned)dev_major, (unsigned)dev_minor};
    if (!m.root || !m.mountpoint || !m.fstype) {
        ctl_mount_fini(&m);
        return -ENOMEM;
    }
    *ret = m;
    return 0;
}

static int mounts_read(struct mounts *ret)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    _cleanup_(freep) char *line = NULL;
    size_t size = 0, cap = 0;
    int r = file ? 0 : -errno;
    while (r == 0 && ret->n < MOUNTS_MAX && getline(&line, &size, file) > 0) {
        if (ret->n == cap) {
            struct ctl_mount *more = reallocarray(ret->list, cap * 2 + 64, sizeof(*more));
            if (!more) {
                r = -ENOMEM;
                break;
            }
            cap = cap * 2 + 64;
            ret->list = more;
        }
        r = ctl_mount_parse(line, &ret->list[ret->n]);
        if (r == 0)
            ret->n++;
        else if (r == -EINVAL) /* a line of a kernel to come */
            r = 0;
    }
    if (file)
        fclose(file);
    return r;
}

bool ctl_path_below(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    if (len && dir[len - 1] == '/') /* the root directory */
        len--;
    return !strncmp(path, dir, len) && (path[len] == '/' || path[len] == 0);
}

/* The innermost mount; of several on one place the last is what the path sees. */
static const struct ctl_mount *mounts_of(const struct mounts *mounts, const char *path)
{
    const struct ctl_mount *best = NULL;
    for (size_t i = 0; i < mounts->n; i++) {
        const struct ctl_mount *m = &mounts->list[i];
        if (ctl_path_below(path, m->mountpoint) &&
            (!best || strlen(m->mountpoint) >= strlen(best->mountpoint)))
            best = m;
    }
    return best;
}

/* Absolute and without links. What does not exist (perhaps that is why it shall be refreshed) is
 * kept as it was written below the last directory that does. */
static int resolve(const char *path, char **ret_path)
{
    _cleanup_(freep) char *head = strdup(path);
    if (!head)
        return -ENOMEM;
    size_t len = strlen(head);
    for (;;) {
        _cleanup_(freep) char *real = realpath(len ? head : path[0] == '/' ? "/" : ".", NULL);
        if (real) {
            const char *rest = path + len + strspn(path + len, "/");
            *ret_path = str_dup_printf("%s%s%s", real, *rest && strcmp(real, "/") ? "/" : "", rest);
            return *ret_path ? 0 : -ENOMEM;
        }
        if (errno != ENOENT || !len)
            return -errno;
        size_t end = len;
        while (len && head[len - 1] == '/')
            end = --len;
        while (len && head[len - 1] != '/')
            len--;
        size_t name = end - len;
        if ((name == 1 && head[len] == '.') || (name == 2 && !strncmp(head + len, "..", 2)))
            return -ENOENT;
        while (len && head[len - 1] == '/')
            len--;
        head[len] = 0;
    }
}

static bool same_device(const struct mounts *mounts, const struct ctl_mount *mount,
                        const char *mountpoint)
{
    for (size_t i = 0; i < mounts->n; i++) {
        const struct ctl_mount *m = &mounts->list[i];
        if (m->major == mount->major && m->minor == mount->minor &&
            !strcmp(m->mountpoint, mountpoint))
            return true;
    }
    return false;
}

static int from_hex(const char *s, uint8_t out[CTL_INSTANCE_BYTES])
{
    if (strlen(s) != CTL_INSTANCE_BYTES * 2 || strspn(s, "0123456789abcdefABCDEF") != strlen(s))
        return -EINVAL;
    for (unsigned i = 0; i < CTL_INSTANCE_BYTES; i++) {
        char pair[3] = {s[2 * i], s[2 * i + 1], 0};
        out[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return 0;
}

/* Is the mount in this backend's list? Its instance id then. 0 | -ENOENT */
static int find_instance(json_object *doc, const struct mounts *mounts,
                         const struct ctl_mount *mount, uint8_t out[CTL_INSTANCE_BYTES])
{
    json_object *list = ctl_member(doc, "mounts", json_type_array);
    size_t n = list ? json_object_array_length(list) : 0;
    for (size_t i = 0; i < n; i++) {
        json_object *item = json_object_array_get_idx(list, i);
        json_object *mountpoint = ctl_member(item, "mountpoint", json_type_string);
        json_object *instance = ctl_member(item, "instance", json_type_string);
        if (mountpoint && instance &&
            same_device(mounts, mount, json_object_get_string(mountpoint)) &&
            from_hex(json_object_get_string(instance), out) == 0)
            return 0;
    }
    return -ENOENT;
}

static int send_refresh(int fd, const uint8_t instance[CTL_INSTANCE_BYTES], const char *path,
                        uint64_t *ret_forgotten)
{
    _cleanup_(str_fini) struct str fields = STR_NULL;
    _cleanup_(client_answer_fini) struct client_answer answer = {0};
    struct msg_refresh_req req = {.instance = {(const char *)instance, CTL_INSTANCE_BYTES},
                                  .path = msg_str_of(path)};
    struct msg_refresh_rep rep;
    if (req.path.len > PROTO_SOURCE_MAX_BYTES)
        return -ENAMETOOLONG;
    int r = msg_pack_refresh_req(&fields, &req);
    if (r == 0)
        r = client_ask(fd, MSG_REFRESH, &fields, NULL, 0, REFRESH_TIMEOUT_MS, &answer);
    if (r == 0)
        r = answer.error;
    if (r == 0)
        r = msg_unpack_refresh_rep(answer.head.fields, answer.head.fields_len, &rep);
    if (r == 0)
        *ret_forgotten = rep.forgotten;
    return r;
}

/* From the root of the file system, as the backend sees it: a bind mount may show a part only. */
static char *relative(const struct ctl_mount *mount, const char *path)
{
    size_t len = strlen(mount->mountpoint);
    const char *rest = path + (strcmp(mount->mountpoint, "/") ? len : 0);
    rest += strspn(rest, "/");
    const char *root = mount->root + strspn(mount->root, "/");
    return str_dup_printf("%s%s%s", root, *root && *rest ? "/" : "", rest);
}

/* Asks one backend after the other whose mount it is. */
static int ask_backends(struct ctl *ctl, const struct mounts *mounts, const struct ctl_mount *mount,
                        struct ctl_found *ret)
{
    unsigned next = 0;
    for (bool any = false;; any = true) {
        _cleanup_(closep) int fd = -1;
        json_object *doc = NULL;
        if (ctl_next(&ctl->places, &next, &fd) < 0)
            return any ? ctl_fail("%s: no backend that may be asked knows this mount",
                                  mount->mountpoint)
                       : ctl_fail_nobody(&ctl->places);
        int r = ctl_ask_status(fd, &doc);
        if (r < 0)
            continue;
        r = find_instance(doc, mounts, mount, ret->instance);
        json_object_put(doc);
        if (r < 0)
            continue;
        ret->fd = take_fd(&fd);
        return CTL_OK;
    }
}

int ctl_find_mount(struct ctl *ctl, const char *word, struct ctl_found *ret)
{
    _cleanup_(mounts_fini) struct mounts mounts = {0};
    _cleanup_(freep) char *path = NULL;
    int r = resolve(word, &path);
    if (r == 0)
        r = mounts_read(&mounts);
    if (r < 0)
        return ctl_fail("%s: %s", word, strerror(-r));
    const struct ctl_mount *mount = mounts_of(&mounts, path);
    if (!mount || strcmp(mount->fstype, "fuse.hafiz"))
        return ctl_fail("%s: lies in no mount of hafiz", word);
    _cleanup_(freep) char *rel = relative(mount, path);
    if (!rel)
        return ctl_fail("%s", strerror(ENOMEM));
    r = ask_backends(ctl, &mounts, mount, ret);
    if (r == CTL_OK)
        ret->path = take(rel);
    return r;
}

void ctl_found_fini(struct ctl_found *found)
{
    closep(&found->fd);
    free(found->path);
}

int ctl_refresh(struct ctl *ctl)
{
    _cleanup_(ctl_found_fini) struct ctl_found found = {.fd = -1};
    uint64_t forgotten = 0;
    int r = ctl_find_mount(ctl, ctl->args[0], &found);
    if (r != CTL_OK)
        return r;
    r = send_refresh(found.fd, found.instance, found.path, &forgotten);
    if (r < 0)
        return ctl_fail("%s: not refreshed: %s", ctl->args[0], strerror(-r));
    printf("refreshed: %llu cached entries forgotten\n", (unsigned long long)forgotten);
    return CTL_OK;
}
