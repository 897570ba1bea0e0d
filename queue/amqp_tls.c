/*
 * amqp_tls.c - TLS as it should be, on a library whose defaults are old. The
 * context is OpenSSL's own: TLS 1.2 or later, the chain and the host name (or
 * address, which the library's own check cannot) verified inside the
 * handshake, so that nothing is sent to an impostor, not even a greeting.
 */
#include <arpa/inet.h>
#include <stdio.h>

#include <amqp_ssl_socket.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "queue/amqp_private.h"

/* --- reasons ---------------------------------------------------------- */

static void keep_reason(struct rabbit_link *link, const char *what, const char *why)
{
	(void)snprintf(link->tls_why, sizeof(link->tls_why), "%s: %s", what, why);
}

/* Called for each certificate of the chain; notes why one is refused. */
static int on_verify(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct rabbit_link *link = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	if (!ok && link != NULL)
		keep_reason(link, "the certificate was refused",
			    X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)));
	return ok;
}

static int tls_error(struct err *err, const char *what, const char *subject)
{
	const char *why = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	return err_set(err, ERR_INPUT, "cannot %s '%s': %s", what, subject,
		       why == NULL ? "not in PEM format, or not readable" : why);
}

/* --- the context ------------------------------------------------------ */

static int load_trust(SSL_CTX *context, const struct carrier_config *config, struct err *err)
{
	if (config->ca_file == NULL) {
		if (SSL_CTX_set_default_verify_paths(context) != 1)
			return err_set(err, ERR_SYSTEM, "cannot load the system's CA certificates");
		return 0;
	}
	if (SSL_CTX_load_verify_locations(context, config->ca_file, NULL) != 1)
		return tls_error(err, "load the CA file", config->ca_file);
	return 0;
}

static int load_own(SSL_CTX *context, const struct carrier_config *config, struct err *err)
{
	if (config->cert_file == NULL && config->key_file == NULL)
		return 0;
	if (config->cert_file == NULL || config->key_file == NULL)
		return err_set(err, ERR_INPUT,
			       "a client certificate needs both its file and its key's file");
	if (SSL_CTX_use_certificate_chain_file(context, config->cert_file) != 1)
		return tls_error(err, "load the certificate", config->cert_file);
	if (SSL_CTX_use_PrivateKey_file(context, config->key_file, SSL_FILETYPE_PEM) != 1)
		return tls_error(err, "load the key", config->key_file);
	return 0;
}

static int expect_host(SSL_CTX *context, const char *host, struct err *err)
{
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(context);
	uint8_t address[sizeof(struct in6_addr)];
	int done;

	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
		done = X509_VERIFY_PARAM_set1_ip_asc(param, host);
	else
		done = X509_VERIFY_PARAM_set1_host(param, host, 0);
	if (done != 1)
		return err_set(err, ERR_INPUT, "cannot verify a host named '%s'", host);
	return 0;
}

static int prepare(SSL_CTX *context, struct rabbit_link *link, const struct carrier_config *config,
		   const char *host, struct err *err)
{
	SSL_CTX_set_app_data(context, link);
	if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1)
		return err_set(err, ERR_UNSUPPORTED, "this OpenSSL does not have TLS 1.2");
	if (load_own(context, config, err) < 0)
		return -1;
	if (config->insecure) {
		SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
		return 0;
	}
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, on_verify);
	if (load_trust(context, config, err) < 0)
		return -1;
	return expect_host(context, host, err);
}

int rabbit_tls_socket(struct rabbit_link *link, const struct carrier_config *config,
		      const char *host, amqp_socket_t **ret, struct err *err)
{
	amqp_socket_t *sock = amqp_ssl_socket_new(link->state);

	if (sock == NULL)
		return err_set(err, ERR_SYSTEM, "cannot make a TLS socket");
	/* The handshake verifies, see above; the library's later check knows no
	 * addresses. */
	amqp_ssl_socket_set_verify_hostname(sock, 0);
	amqp_ssl_socket_set_verify_peer(sock, config->insecure ? 0 : 1);
	if (prepare(amqp_ssl_socket_get_context(sock), link, config, host, err) < 0)
		return -1;
	*ret = sock;
	return 0;
}
