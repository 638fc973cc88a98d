/* TLS by OpenSSL under libevent's bufferevents.  1.2 and newer; no renegotiation, no compression;
 * HTTP/1.1 is what is spoken whatever else a client offers (ALPN).
 *
 * A record that is no data (1.3: a new key) costs one read: OpenSSL would otherwise go on reading
 * inside of SSL_read for as long as such records come, and nobody else would be served. */
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "net/server_priv.h"

static int openssl_failed(struct err *e, const char *where) {
    char text[200] = "no reason given";
    const unsigned long code = ERR_peek_last_error();
    if (code) ERR_error_string_n(code, text, sizeof text);
    ERR_clear_error();
    return err_set(e, ERR_USAGE, "%s: %s", where, text);
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *n_out,
                           const unsigned char *in, unsigned n_in, void *ctx) {
    static const unsigned char http[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
    (void)ssl, (void)ctx;
    if (SSL_select_next_proto((unsigned char **)(uintptr_t)out, n_out, http, sizeof http, in,
                              n_in) == OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_OK;
    return SSL_TLSEXT_ERR_NOACK;
}

/* New keys that a connection may ask for; RFC 8446 (5.5) needs one after 2^24 records. */
enum { KEY_UPDATES_MAX = 100 };

/* Sees each message of the protocol.  Too many new keys: what is read next is the end. */
static void on_message(int written, int version, int type, const void *p, size_t n, SSL *ssl,
                       void *arg) {
    (void)version, (void)arg;
    if (written || type != SSL3_RT_HANDSHAKE || n == 0) return;
    if (*(const unsigned char *)p != SSL3_MT_KEY_UPDATE) return;
    const uintptr_t seen = (uintptr_t)SSL_get_app_data(ssl) + 1;
    SSL_set_app_data(ssl, (void *)seen);
    if (seen > KEY_UPDATES_MAX) shutdown(SSL_get_fd(ssl), SHUT_RDWR);
}

struct ssl_ctx_st *tls_new(const char *cert, const char *key, struct err *e) {
    if (!key) {
        err_set(e, ERR_USAGE, "%s: a certificate needs its private key, too", cert);
        return NULL;
    }
    ERR_clear_error();
    SSL_CTX *t = SSL_CTX_new(TLS_server_method());
    if (!t) {
        err_nomem(e, "TLS");
        return NULL;
    }
    SSL_CTX_set_min_proto_version(t, TLS1_2_VERSION);
    SSL_CTX_set_options(t, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                               SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(t, SSL_MODE_RELEASE_BUFFERS); /* 34 KiB less for an idle connection */
    SSL_CTX_clear_mode(t, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_msg_callback(t, on_message);
    SSL_CTX_set_alpn_select_cb(t, choose_protocol, NULL);
    int rc = 0;
    if (SSL_CTX_use_certificate_chain_file(t, cert) != 1)
        rc = openssl_failed(e, cert);
    else if (SSL_CTX_use_PrivateKey_file(t, key, SSL_FILETYPE_PEM) != 1 ||
             SSL_CTX_check_private_key(t) != 1)
        rc = openssl_failed(e, key);
    if (rc == 0) return t;
    SSL_CTX_free(t);
    return NULL;
}

void tls_free(struct ssl_ctx_st *t) {
    SSL_CTX_free(t);
}

struct bufferevent *tls_accept(struct event_base *base, struct ssl_ctx_st *t, int fd,
                               struct ssl_st **ssl) {
    SSL *new = SSL_new(t);
    if (!new) return NULL;
    struct bufferevent *bev = bufferevent_openssl_socket_new(
        base, fd, new, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    if (!bev) { /* new is freed by then */
        return NULL;
    }
    /* Who ends without a close_notify has ended all the same: bodies have lengths. */
    bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    *ssl = new;
    return bev;
}

void tls_say_goodbye(struct ssl_st *ssl) {
    SSL_shutdown(ssl);
    ERR_clear_error(); /* a stale error would be taken for one of the next connection's */
}
