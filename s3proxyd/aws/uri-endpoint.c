/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: the hafiz authors */
/* Endpoints: what a user may write, the Host header it becomes, and which hosts are this machine
 * (where plain http is harmless). */
#include "s3proxyd/aws/uri.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

static bool host_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

/* Copies a name in lower case; labels must not be empty but for one dot at the end, which is
 * dropped, as no certificate and no signature carries it. */
static int copy_name(const char *s, size_t len, char out[URI_HOST_MAX_BYTES + 1])
{
    if (len > 0 && s[len - 1] == '.')
        len--;
    if (len == 0 || len > URI_HOST_MAX_BYTES)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (!host_char(c) || (c == '.' && (i == 0 || i + 1 == len || s[i - 1] == '.')))
            return -EINVAL;
        out[i] = c;
    }
    out[len] = '\0';
    return 0;
}

/* "[…]" at s; *ret_rest is what follows. Stored in the shortest spelling. */
static int copy_ipv6(const char *s, char out[URI_HOST_MAX_BYTES + 1], const char **ret_rest)
{
    const char *end = strchr(s, ']');
    char text[INET6_ADDRSTRLEN];
    struct in6_addr addr;

    if (!end || (size_t)(end - s - 1) >= sizeof(text))
        return -EINVAL;
    memcpy(text, s + 1, (size_t)(end - s - 1));
    text[end - s - 1] = '\0';
    if (inet_pton(AF_INET6, text, &addr) != 1 ||
        !inet_ntop(AF_INET6, &addr, out, URI_HOST_MAX_BYTES + 1))
        return -EINVAL;
    *ret_rest = end + 1;
    return 0;
}

static int parse_port(const char *s, size_t len, unsigned *ret_port)
{
    unsigned port = 0;

    if (len == 0 || len > 5)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '0' || s[i] > '9')
            return -EINVAL;
        port = port * 10 + (unsigned)(s[i] - '0');
    }
    if (port == 0 || port > 65535)
        return -EINVAL;
    *ret_port = port;
    return 0;
}

static int refuse(const char **ret_why, const char *why)
{
    *ret_why = why;
    return -EINVAL;
}

int uri_endpoint_parse(const char *url, struct uri_endpoint *ret, const char **ret_why)
{
    struct uri_endpoint e = {0};
    const char *s = strstr(url, "://");
    size_t scheme_len = s ? (size_t)(s - url) : 0;

    if (!s)
        return refuse(ret_why, "an endpoint is http://HOST[:PORT] or https://HOST[:PORT]");
    e.tls = scheme_len == 5 && strncasecmp(url, "https", 5) == 0;
    if (!e.tls && !(scheme_len == 4 && strncasecmp(url, "http", 4) == 0))
        return refuse(ret_why, "an endpoint's scheme is http or https");
    s += 3;

    const char *end = s + strcspn(s, "/?#");
    if (end[0] != '\0' && !(end[0] == '/' && end[1] == '\0'))
        return refuse(ret_why, "an endpoint has no path or query");
    if (memchr(s, '@', (size_t)(end - s)))
        return refuse(ret_why, "an endpoint has no user or password");

    const char *rest;
    if (*s == '[') {
        e.ipv6 = true;
        if (copy_ipv6(s, e.host, &rest) < 0 || rest > end)
            return refuse(ret_why, "the endpoint's IPv6 address does not parse");
    } else {
        rest = memchr(s, ':', (size_t)(end - s));
        rest = rest ? rest : end;
        if (copy_name(s, (size_t)(rest - s), e.host) < 0)
            return refuse(ret_why, "the endpoint's host name does not parse");
    }
    e.port = e.tls ? 443 : 80;
    if (rest != end &&
        (*rest != ':' || parse_port(rest + 1, (size_t)(end - rest - 1), &e.port) < 0))
        return refuse(ret_why, "the endpoint's port is not a number from 1 to 65535");
    *ret = e;
    return 0;
}

int uri_endpoint_authority(const struct uri_endpoint *e, const char *label, struct str *out)
{
    int r = str_addf(out, "%s%s%s%s%s", label ? label : "", label ? "." : "", e->ipv6 ? "[" : "",
                     e->host, e->ipv6 ? "]" : "");

    if (r < 0 || e->port == (e->tls ? 443u : 80u))
        return r;
    return str_addf(out, ":%u", e->port);
}

bool uri_host_is_address(const char *host)
{
    struct in6_addr v6;
    struct in_addr v4;

    return inet_pton(AF_INET, host, &v4) == 1 || inet_pton(AF_INET6, host, &v6) == 1;
}

bool uri_host_is_loopback(const char *host)
{
    static const char name[] = "localhost";
    size_t len = strlen(host), name_len = sizeof(name) - 1;
    struct in6_addr v6;
    struct in_addr v4;

    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
    if (len < name_len || strcasecmp(host + len - name_len, name) != 0)
        return false;
    return len == name_len || host[len - name_len - 1] == '.';
}

bool uri_bucket_is_dns(const char *bucket, bool *ret_dotted)
{
    size_t len = strlen(bucket);
    bool dotted = false;

    if (len < 3 || len > 63 || uri_host_is_address(bucket))
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = bucket[i], before = i ? bucket[i - 1] : '.',
             after = i + 1 < len ? bucket[i + 1] : '.';
        bool mark = c == '-' || c == '.';
        if (!host_char(c) || c == '_' || (mark && (before == '.' || after == '.')))
            return false;
        dotted |= c == '.';
    }
    *ret_dotted = dotted;
    return true;
}
