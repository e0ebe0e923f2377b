// Package smtp sends messages through an SMTP server.
//
// [New] makes a [Driver], whose Send delivers one message to a relay or
// submission server. It implements RFC 5321 and LMTP (RFC 2033, [WithLMTP]),
// with the extensions STARTTLS (RFC 3207), AUTH (RFC 4954), implicit TLS (RFC
// 8314), PIPELINING (RFC 2920), CHUNKING and BINARYMIME (RFC 3030), SIZE (RFC
// 1870), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), ENHANCEDSTATUSCODES (RFC
// 2034) and LIMITS (RFC 9422), each used where it is offered, and DSN (RFC
// 3461), REQUIRETLS (RFC 8689), DELIVERBY (RFC 2852) and MT-PRIORITY (RFC
// 6710), used where the message asks.
//
// What a message asks for and the server does not offer is an
// [*ExtensionError] before MAIL, with two exceptions: without DSN the message
// goes and no notifications are asked for, and an address that is beyond ASCII
// in its domain alone goes in the domain's ASCII form.
//
// # Outcomes
//
// Send makes one try, and one with the backup server if there is one and it may
// (see below). What it reports, for the message and each recipient:
//
//   - accepted: the server took responsibility with its reply to the final dot.
//   - rejected: a reply 5yz refused; or the message cannot be sent at all, or
//     not to this server: a bad address, too large, an extension that is not
//     there. Then nothing of it was sent.
//   - deferred: a reply 4yz refused, or the session ended before the final dot
//     went out, for whatever reason: network, time-out, a certificate, a
//     refused login, the end of the context, Close. The server must throw away
//     what it got (RFC 5321 section 4.1.1.4), so another try doubles nothing.
//   - unknown: some of the final dot, or of the last BDAT chunk, was sent and
//     no reply came, because of the network, a time-out, a reply that is none,
//     the end of the context or Close. The message may have been accepted.
//     Nobody repeats it but the host; [Retrier] does not unless told to.
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
// # Connections
//
// A driver keeps its connections for later messages ([WithMaxConnections],
// [WithIdleTime], [WithMaxAge]). One that was idle is asked with RSET whether
// the server is still there. If it turns out to have ended before the server
// answered MAIL, the message is begun anew on a new one, once.
//
// With PIPELINING the envelope goes out in one flight, together with DATA or
// the first BDAT chunk, which is never the last: the end of the message goes
// out only once the server has said whom it accepts. While all connections are
// in use the envelope of the Send that waits longest goes out behind the end
// of the message before it, so that several goroutines that call Send need one
// round trip a message. [WithDisableChunking] turns all that off.
//
// The waits are bounded by the times of RFC 5321 section 4.5.3.2, or less where
// [driver.WithTimeout] and the options of this package say so.
//
// # The backup server
//
// With [WithBackup] a second server is tried where nothing can have been
// accepted: the first cannot be reached, or fails up to EHLO or in TLS, or
// refuses the login for now (for good only with [WithAuthFailover]), or leaves
// with 421 or silence before it took MAIL, or the connection is lost before
// the end of the message was sent. Never after another reply to MAIL, RCPT,
// DATA or the content, never after a time-out behind MAIL, and never with an
// unknown outcome. The backup is then used for a time ([WithBackupPeriod]),
// after which one message tries the first server again. A message for which the
// backup lacks an extension, or room, goes to the first server all the same. If
// neither can be used, one error of Op "failover" names both.
//
// # What goes over the wire
//
// Content is streamed, in memory that does not grow with the message. Line
// ends are made CRLF whatever they were, so that CRLF.CRLF occurs once, at the
// end; [driver.Message.Binary] content alone keeps them, and goes only to a
// server with BINARYMIME. Otherwise content is altered only where the server
// cannot take it: a part with 8-bit octets without 8BITMIME, with a NUL, or
// with a line over [WithMaxLineLength] is sent in quoted-printable or base64,
// and the copy in the sent directory is what was sent. Where that cannot be
// done, because it is a header or inside a multipart/signed, Send refuses with
// a typed error before MAIL. A DKIM signature does not survive re-encoding: let
// the server sign, or sign 7-bit messages. A header with 8-bit octets is sent
// as SMTPUTF8 where it is UTF-8 and that is offered, else as it is to a server
// with 8BITMIME; a message that says so ([driver.Message.SMTPUTF8]) only to one
// with SMTPUTF8. Whatever enters a command is checked before any byte is sent.
//
// Error values are not changed once made and may be shared by goroutines.
//
// Without a spool, [driver.Message.Open] is called twice for a message of more
// than 64 KiB, as its size and kind must be known before MAIL; both readings
// must give the same. With one, the message is read once, into the file
// SMTP_..tmp.part in the sent directory, which is sent, and then removed or, as
// [WithSaveSent] and [WithKeepUnsent] say, kept as SMTP_..tmp. A message that is
// re-encoded is read again for that.
package smtp
