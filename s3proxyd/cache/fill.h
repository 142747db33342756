/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Waits and what is under way for them, as fetches and the evictor see it. */
#pragma once

#include "s3proxyd/cache/obj.h"

/* The blocks of word `word` that are being fetched or waited for, and, unless recent_too, those that were
 * asked for just now. */
uint64_t fill_busy_mask(const struct cache_obj *obj, uint64_t word, bool recent_too);
/* More blocks of `span` are present: wakes who has all it wants. */
void fill_arrived(struct cache_obj *obj, struct obj_span span);
/* The fetch of `span` is over and off the list. Waits for what is absent of it get the error; without
 * one (a checksum differed) they get another fetch. */
void fill_ended(struct cache_obj *obj, struct obj_span span, int error);
