/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Dates by hand: strptime and strftime obey the locale, and timegm the range of time_t only. */
#include "s3proxyd/aws/date.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define DAY_S 86400
#define S_NS 1000000000ll

static const char month_names[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const char day_names[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};

struct civil {
    int year, month, day, hour, minute, second; /* month and day from 1 */
};

/* Days from 1970-01-01, proleptic Gregorian; years are counted from March so that leap days come
 * last. */
static int64_t days_from_civil(int year, int month, int day)
{
    int64_t y = year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

    return era * 146097 + day_of_era - 719468;
}

static void civil_from_days(int64_t days, struct civil *c)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted = (5 * day_of_year + 2) / 153; /* 0: March */

    c->day = (int)(day_of_year - (153 * shifted + 2) / 5 + 1);
    c->month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);
    c->year = (int)(year_of_era + era * 400 + (c->month <= 2));
}

static bool leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Years up to 2261 fit in 64 bits of nanoseconds; second 60 is a leap second, counted as the next
 * one. */
static int to_ns(const struct civil *c, int64_t *ret_ns)
{
    static const int lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    if (c->year < 1678 || c->year > 2261 || c->month < 1 || c->month > 12 || c->day < 1 ||
        c->day > lengths[c->month - 1] + (c->month == 2 && leap(c->year)) || c->hour > 23 ||
        c->minute > 59 || c->second > 60)
        return -EINVAL;
    *ret_ns = (days_from_civil(c->year, c->month, c->day) * DAY_S + c->hour * 3600 +
               c->minute * 60 + c->second) *
              S_NS;
    return 0;
}

/* Exactly n digits at *s, which moves past them. */
static bool digits(const char **s, int n, int *ret)
{
    int v = 0;

    for (int i = 0; i < n; i++, (*s)++) {
        if (**s < '0' || **s > '9')
            return false;
        v = v * 10 + (**s - '0');
    }
    *ret = v;
    return true;
}

static bool literal(const char **s, const char *text)
{
    size_t len = strlen(text);

    if (strncmp(*s, text, len) != 0)
        return false;
    *s += len;
    return true;
}

static bool clock_time(const char **s, struct civil *c)
{
    return digits(s, 2, &c->hour) && literal(s, ":") && digits(s, 2, &c->minute) &&
           literal(s, ":") && digits(s, 2, &c->second);
}

static int64_t fraction(const char **s)
{
    int64_t ns = 0, unit = S_NS / 10;

    for (; **s >= '0' && **s <= '9'; (*s)++, unit /= 10)
        ns += (**s - '0') * unit;
    return ns;
}

int date_parse_iso(const char *s, int64_t *ret_ns)
{
    struct civil c;
    int64_t ns, part = 0, zone_s = 0;

    if (!digits(&s, 4, &c.year) || !literal(&s, "-") || !digits(&s, 2, &c.month) ||
        !literal(&s, "-") || !digits(&s, 2, &c.day) || !literal(&s, "T") || !clock_time(&s, &c))
        return -EINVAL;
    if (literal(&s, "."))
        part = fraction(&s);
    if (*s == '+' || *s == '-') {
        int sign = *s++ == '-' ? -1 : 1, hours, minutes;
        if (!digits(&s, 2, &hours) || !literal(&s, ":") || !digits(&s, 2, &minutes) || hours > 23 ||
            minutes > 59)
            return -EINVAL;
        zone_s = sign * (hours * 3600 + minutes * 60);
    } else if (!literal(&s, "Z")) {
        return -EINVAL;
    }
    if (*s != '\0' || to_ns(&c, &ns) < 0)
        return -EINVAL;
    *ret_ns = ns + part - zone_s * S_NS;
    return 0;
}

static bool month_name(const char **s, int *ret)
{
    for (int i = 0; i < 12; i++)
        if (literal(s, month_names[i])) {
            *ret = i + 1;
            return true;
        }
    return false;
}

/* Sun, 06 Nov 1994 08:49:37 GMT */
static bool http_fixed(const char *s, struct civil *c)
{
    return literal(&s, " ") && digits(&s, 2, &c->day) && literal(&s, " ") &&
           month_name(&s, &c->month) && literal(&s, " ") && digits(&s, 4, &c->year) &&
           literal(&s, " ") && clock_time(&s, c) && literal(&s, " GMT") && *s == '\0';
}

/* Sunday, 06-Nov-94 08:49:37 GMT; two digits mean 1970-2069. */
static bool http_rfc850(const char *s, struct civil *c)
{
    if (!(literal(&s, " ") && digits(&s, 2, &c->day) && literal(&s, "-") &&
          month_name(&s, &c->month) && literal(&s, "-") && digits(&s, 2, &c->year) &&
          literal(&s, " ") && clock_time(&s, c) && literal(&s, " GMT") && *s == '\0'))
        return false;
    c->year += c->year < 70 ? 2000 : 1900;
    return true;
}

/* Sun Nov  6 08:49:37 1994 */
static bool http_asctime(const char *s, struct civil *c)
{
    return month_name(&s, &c->month) && literal(&s, " ") &&
           (literal(&s, " ") ? digits(&s, 1, &c->day) : digits(&s, 2, &c->day)) &&
           literal(&s, " ") && clock_time(&s, c) && literal(&s, " ") && digits(&s, 4, &c->year) &&
           *s == '\0';
}

/* The day of the week is only looked over: it says nothing that the date does not. */
int date_parse_http(const char *s, int64_t *ret_ns)
{
    struct civil c = {0};
    size_t name = strspn(s, "abcdefghijklmnopqrstuvwxyzADEFHIMNORSTUW");
    bool ok;

    if (name < 3)
        return -EINVAL;
    if (s[name] == ',')
        ok = name == 3 ? http_fixed(s + 4, &c) : http_rfc850(s + name + 1, &c);
    else
        ok = s[name] == ' ' && http_asctime(s + name + 1, &c);
    return ok ? to_ns(&c, ret_ns) : -EINVAL;
}

static void from_ns(int64_t ns, struct civil *c, int *ret_weekday)
{
    int64_t s = ns > 0 ? ns / S_NS : 0, days = s / DAY_S, rest = s % DAY_S;

    civil_from_days(days, c);
    c->hour = (int)(rest / 3600);
    c->minute = (int)(rest / 60 % 60);
    c->second = (int)(rest % 60);
    *ret_weekday = (int)((days + 4) % 7); /* 1970-01-01 was a Thursday */
}

void date_format_amz(int64_t ns, char out[DATE_AMZ_SIZE])
{
    struct civil c;
    int weekday;
    char text[64]; /* room for what the compiler cannot know to be small */

    from_ns(ns, &c, &weekday);
    snprintf(text, sizeof(text), "%04d%02d%02dT%02d%02d%02dZ", c.year, c.month, c.day, c.hour,
             c.minute, c.second);
    memcpy(out, text, DATE_AMZ_SIZE);
}

void date_format_http(int64_t ns, char out[DATE_HTTP_SIZE])
{
    struct civil c;
    int weekday;
    char text[96];

    from_ns(ns, &c, &weekday);
    snprintf(text, sizeof(text), "%s, %02d %s %04d %02d:%02d:%02d GMT", day_names[weekday], c.day,
             month_names[c.month - 1], c.year, c.hour, c.minute, c.second);
    memcpy(out, text, DATE_HTTP_SIZE);
}
