// Package gssapi logs in with Kerberos 5: [Client] is a [driver.Negotiator] for
// [driver.WithNegotiator], for the SASL mechanism GSSAPI of IMAP, POP3 and SMTP
// (RFC 4752) and for HTTP Negotiate (RFC 4559, RFC 4178). The messages and the
// cryptography are those of github.com/jcmturner/gokrb5; the exchanges are this
// package's own, so that each follows the context, is bounded, and proves the
// server.
//
//	client, err := gssapi.New(gssapi.Password("alice@EXAMPLE.COM", driver.SecretFromEnv("PASSWORD")))
//	...
//	d, err := imap.New("mail.example.com:993", driver.WithLogin("alice", ""), driver.WithNegotiator(client), ...)
//
// # What it promises
//
//   - The server proves itself too (RFC 4120 section 3.2.5): a context is not
//     done before.
//   - Nothing is delegated. Messages are protected for integrity, as SASL needs
//     to agree on no security layer; AES only (RFC 4121).
//   - Contexts are bound to the TLS connection when the caller gives its channel
//     binding (RFC 4121 section 4.1.1.2).
//   - Tickets are kept in memory, used by all contexts of a Client, and replaced
//     a minute before their end: with a password or keytab by logging in anew,
//     with a credential cache by renewing, or from the file if somebody else
//     (kinit, k5start) has renewed it there. A server that refuses a ticket is
//     shown a new one next time.
//   - KDCs are asked over TCP, one after the other, each for [DefaultTimeout] at
//     most; none sends more than [MaxAnswer]. Referrals to other realms are
//     followed (RFC 6806 section 8).
//
// # Errors
//
// Errors are a [*driver.Error] around an [*Error], which names the step, the
// principal or service, and the KDC's code; see [ErrWrongPassword] and the
// others beside it. No error holds a password, key or ticket.
//
// Not supported: PKINIT, FAST, canonical user names, caches other than files,
// UDP, host names from reverse DNS.
package gssapi
