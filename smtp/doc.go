// Package smtp sends messages through an SMTP server.
//
// [New] makes a [Driver], whose Send delivers one message to a relay or
// submission server. It implements RFC 5321, with the extensions STARTTLS (RFC
// 3207), AUTH (RFC 4954), SIZE (RFC 1870), 8BITMIME (RFC 6152), DSN (RFC 3461),
// ENHANCEDSTATUSCODES (RFC 2034), and implicit TLS (RFC 8314).
//
// # Outcomes
//
// Send makes one try. What it reports, for the message and each recipient:
//
//   - accepted: the server took responsibility with its reply to the final dot.
//   - rejected: a reply 5yz refused; or the message cannot be sent at all, or
//     not to this server: a bad address, too large, 8-bit without 8BITMIME.
//     Then nothing of it was sent.
//   - deferred: a reply 4yz refused, or the session ended before the final dot
//     went out, for whatever reason: network, time-out, a certificate, a
//     refused login, the end of the context, Close. The server must throw away
//     what it got (RFC 5321 section 4.1.1.4), so another try doubles nothing.
//   - unknown: some of the final dot was sent and no reply came, because of
//     the network, a time-out, a reply that is none, the end of the context or
//     Close. The message may have been accepted. Nobody repeats it but the host.
//   - partly: some recipients were accepted, others not.
//
// [driver.KindOf] tells the reason apart: a refused login is of kind auth, a
// refused certificate or missing TLS of kind policy, both deferred. An unknown
// outcome is of kind ambiguous, a partial one permanent: the same call again
// would reach the accepted recipients twice.
//
// A reply of 5yz to the connection itself (greeting, EHLO) rejects as well; it
// is found by its stage, for hosts that have another server to try.
//
// # What goes over the wire
//
// Content is streamed, in memory that does not grow with the message. Line
// ends are made CRLF whatever they were, so that CRLF.CRLF occurs once, at the
// end. Content is never altered otherwise: 8-bit octets are sent only to a
// server with 8BITMIME, a NUL never, a line over 998 octets only with
// [WithMaxLineLength]; else Send refuses with a typed error before MAIL.
// Whatever enters a command is checked before any byte is sent.
//
// Error values are not changed once made and may be shared by goroutines.
//
// Without a spool, [driver.Message.Open] is called twice for a message of more
// than 64 KiB, as its size and kind must be known before MAIL; both readings
// must give the same. With one, the message is read once, into the file
// SMTP_..tmp.part in the sent directory, which is sent, and then removed or, as
// [WithSaveSent] and [WithKeepUnsent] say, kept as SMTP_..tmp.
package smtp
