/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Every number both programs share, its unit in its name, its reason beside it. */
#pragma once

#define PROTO_VERSION_MIN 1
#define PROTO_VERSION_MAX 1

#define PROTO_HEAD_MAX_BYTES (64u * 1024)            /* msgpack part of a frame */
#define PROTO_PAYLOAD_MAX_BYTES (1024u * 1024 + 4096) /* raw part: one READ or one READDIR page */
#define PROTO_FDS_MAX 4u                             /* descriptors one frame may carry */
#define PROTO_DEPTH_MAX 4u                           /* nesting of a head */
#define PROTO_FIELDS_MAX 64u                         /* entries of a fields map */
#define PROTO_SEND_QUEUE_MAX_BYTES (8u * 1024 * 1024) /* past it the peer is not read any more */
#define PROTO_CALLS_MAX 1024u                        /* calls in flight on one connection */

#define PROTO_NAME_MAX_BYTES 255u   /* a path component, as the kernel's NAME_MAX */
#define PROTO_KEY_MAX_BYTES 1024u   /* an object key, as S3 */
#define PROTO_SOURCE_MAX_BYTES 4096u
#define PROTO_TEXT_MAX_BYTES 1024u  /* error texts */
#define PROTO_SECRET_MAX_BYTES 8192u /* a session token may reach 4 KiB and more */
#define PROTO_IO_MAX_BYTES (1024u * 1024)  /* one READ or WRITE; the kernel's max_pages = 256 */
#define PROTO_INLINE_MAX_BYTES (64u * 1024) /* a file that OPEN may answer with, whole */
#define PROTO_WARM_REQUESTS_MAX 64u /* of one WARM at the store at a time */
#define PROTO_RING_BYTES (16u * 1024 * 1024) /* shared write ring of a mount */
#define PROTO_RING_SLOT_BYTES PROTO_IO_MAX_BYTES /* a WRITE uses one whole slot */

#define PROTO_TOKEN_BYTES 16u       /* session token that binds the push connection */
#define BLOCK_BYTES (16u * 1024)    /* presence block of the cache; part of the sidecar's format */
#define ROOT_INO 1u                 /* the kernel's root; each mount's real root has another number */

#define HELLO_TIMEOUT_MS 5000u      /* connect + hello, both sides */
#define ATTACH_TIMEOUT_MS 15000u    /* everything attach may do, retries included */
#define READAHEAD_DEFAULT_KIB 512u  /* of the kernel: measured best from here on */
#define TIMEO_DEFAULT_S 30u         /* a request waits for a lost backend; < 120 s hung-task limit */
#define IDLE_EXIT_DEFAULT_S 60u     /* a private backend without clients and queued data ends */
#define ATTR_TTL_UNSET_MS 86400001u /* in ATTACH: as the backend is configured; a day is the most */
#define NEGATIVE_TTL_MS 1000u
